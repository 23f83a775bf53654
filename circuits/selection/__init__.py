"""Which nodes make the circuit: honest parts of the pairs, and the search for a small set that does the task.

For other rooms: `split_pairs` (what finds, what chooses, what judges), `NodeSets` (a ranking's nodes as sets whose
faithfulness can be asked for), `iterate` and `learn` (two searches) and `Search` (what they find).
"""
