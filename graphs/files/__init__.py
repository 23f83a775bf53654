"""File formats of circuits, labels and verdicts, in and out."""
