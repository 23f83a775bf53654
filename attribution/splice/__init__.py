"""SAEs spliced into a model: runs, recordings, and values written to nodes."""
