"""Change nodes of a model, and see what else changes.

For other rooms: `ablate` with `Ablation` (the metric, likely tokens and features before and after), `causal_test` (each
node of a circuit knocked out), `joint_patch` (several nodes patched together), `side_effect` (on general text),
`continue_prompt` and `generate` (text), `parse_nodes` and `circuit_names` (nodes by name).
"""
