"""Tasks: prompt pairs from templates, with held-out and out-of-distribution splits."""
