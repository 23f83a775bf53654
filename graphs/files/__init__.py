"""File formats of circuits, verdicts and feature labels: writing them, and reading them back, checked.

Our own, versioned: `circuit_json`, `verdict_json`, `labels_json`. For other programs: `graphml` (Gephi, yEd,
Cytoscape), `tables` (Parquet), `dot` (Graphviz) and Neuronpedia's graphs (`neuronpedia_read`, `neuronpedia_write`). A
new format starts from the rows of `plain_circuit`.
"""
