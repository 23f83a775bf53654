"""Chord IG: integrated gradients that see jumps."""
