"""The exact engine: patched runs that execute only what a patch can change, and what they cost.

Other rooms use `exact_engine` (effects of patches, in cones or by whole blocks), `forecast` (how long exact patching of
all nodes will take) and `sweep_cost` (FLOPs of the estimates). Benchmarks also look at `cone`, `cone_cost` and
`cone_patching`. The rest is internal: `plain_run` is the recorded run in plain blocks, `window` and `suffix_attention`
restrict a run to its last positions, and `cone_batches` decides which runs are executed together.
"""
