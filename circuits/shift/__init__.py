"""SHIFT: remove the features through which a probe reads a spurious label."""
