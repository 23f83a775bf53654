"""Chord IG: integrated gradients that account for gates that flip between the clean and the patch run.

The formula and the public functions are in `chord_integrated_gradients`; `chord_result` holds what they return.

Other rooms use `chord_integrated_gradients`, `chord_attribution` and `ChordAttribution`. Edges build on the parts:
`stretches` (the network between sites), `chord_sweep` (multipliers from the metric back to the tokens) and
`site_secants` (the gates of one site as secants). `secant_gates` is internal.
"""
