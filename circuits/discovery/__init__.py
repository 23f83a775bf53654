"""From prompt pairs to a circuit with its certificate.

For other rooms: `discover`, `discover_each`, `Selection`, and `decide` (exact or screened) for the command line;
`export` writes a circuit to a file.
"""
