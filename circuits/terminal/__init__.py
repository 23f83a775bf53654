"""What commands share at the terminal: progress, interrupts, amounts, errors."""
