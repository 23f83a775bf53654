"""Prompt pairs, the names of their positions, and the metrics measured on them."""
