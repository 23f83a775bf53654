"""Change nodes of a circuit causally, and see what else changes."""
