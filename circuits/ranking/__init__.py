"""Effects averaged over examples, and rankings of nodes."""
