"""What was measured over a range of settings, as plain data: `steering_sweep` over steering strengths."""
