"""What one feature does, and features found by what they do: as data, in words and in files (`circuits/features`)."""
