"""From prompt pairs to a circuit with its certificate."""
