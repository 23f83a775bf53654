"""Effects of one node on another, and how a node acts.

Other rooms use `chord_edges`, `gradient_edges` and `exact_edges`, each named like its file; `edges`, with `Edges`, the
result of the first two, and `METRIC_KEY`; `explain_node`, the flow of one node's effect; and
`direct_feature_attribution`, the heads that write a feature. `flow_edges` and `collect_edges`, on which chord and
gradient edges are built, are internal.
"""
