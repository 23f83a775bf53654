"""What do two circuits share, and does each do the other's task?

For other rooms: `compare`, of two circuits as a `Side` each; `union_of` and `intersection_of`, which are circuits too.
"""
