"""Steer: change features, or add directions, at several strengths, and see what it does and what it costs.

For other rooms: `steer` carries out a `Steering` and gives a `graphs.SteeringSweep`; `Sampling` says what is generated.
`read_change` reads the text of a change without a model, `read_direction` a direction from a file. `print_sweep` is
what the command prints.
"""
