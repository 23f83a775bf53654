"""Codes found for a decoder by search instead of by an encoder: pursuits, and coefficients refitted on a given support.

One file a method; `greedy.py` holds what the pursuits share. Other rooms import from `attribution.dictionaries`.
"""
