"""Effects of one node on another, and how a node acts."""
