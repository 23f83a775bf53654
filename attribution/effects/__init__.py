"""Effects of nodes, and what every method that measures them shares."""
