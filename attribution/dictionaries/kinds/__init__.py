"""Encoders, one file a kind: each says what a feature's value and margin are, and when its gate is open.

To add an encoder: a subclass of `SAE` (`sae.py`) in a file of its own with `value_and_margin` and `margin_tensors`;
`open_slope` if the value's slope is not 1; `threshold_shares` if the threshold moves with the activation. Then one line
in `ENCODERS` of `formats/saelens.py`, so that it can be read from disk and saved. Other rooms import from
`attribution.dictionaries`.
"""
