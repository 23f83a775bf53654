"""Toy worlds of known atoms that occur together, and SAEs trained on them: when is a feature a composite?"""
