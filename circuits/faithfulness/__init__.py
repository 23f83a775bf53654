"""How much of the metric does a circuit keep when everything else is ablated?

For other rooms: `faithfulness_report` (one circuit), `faithfulness_curves` and `curve_around` (the circuits of a
ranking, by size), `smallest_faithful` (the smallest of them that is faithful), `Bootstrap` (intervals).
"""
