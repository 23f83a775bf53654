"""SHIFT: find the features through which a probe reads a spurious label, and ablate them.

For other rooms: `shift`, `probe_effects`, `spurious_features`, `LabelledPrompts`, `fit_probe`.
"""
