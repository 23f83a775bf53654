"""The claiming verbs: whole-circuit questions and the command line."""
