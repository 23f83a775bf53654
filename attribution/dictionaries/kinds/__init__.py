"""Encoders: one file a kind, with its value, margin and decoder."""
