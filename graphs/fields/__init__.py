"""What the fields of a value may hold.

`quantities` has the numbers that there can be, and `type_faults` says what is wrong with a value that cannot be.
"""
