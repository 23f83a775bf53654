"""Effects averaged over prompt pairs, and nodes ranked by them.

For other rooms: `Question` (what is asked about a model), `rank_nodes` and `average_edges` (effects and edges of some
pairs), `rank` (a dataset of any length) with `write_ranking` and `read_ranking`, `align_positions` and `member_keys`
(positions of different prompts, by name).
"""
