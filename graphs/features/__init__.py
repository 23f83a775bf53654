"""What is known of features that act: the report on one, and what a search found. `circuits/features` makes both."""
