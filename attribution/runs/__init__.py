"""Long work: chunks that survive an interrupt, their keys, and memory."""
