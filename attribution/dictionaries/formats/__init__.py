"""File formats of dictionaries: one file a format."""
