"""What a feature is: contexts, promoted tokens, writers, and labels."""
