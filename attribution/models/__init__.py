"""Language models: the only room that knows TransformerLens, architectures and hooks."""
