"""The measuring verbs: everything that needs the model."""
