"""Circuits as sets: the metric m(λ) of prompts whose nodes carry masks, its gradient, and attribution on a mask path.

For other rooms: `MaskNodes` (which nodes have a mask), `MaskedMetric` (m(λ), its gradient, and `attribution` on the
path from nothing to a set), `gates` and `chance_open` (hard-concrete masks), `mask_path_of_batch` (every node of a
batch of examples, for the registry's method).
"""
