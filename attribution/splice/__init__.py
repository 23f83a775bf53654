"""SAEs spliced into a model: recorded runs, and what a run writes when nodes are changed.

A *node* is a feature, an error or a token of one example at one position (`node_keys`). A node is given a *value*: its
patch value where it is changed alone (`patch_values`), or its reference value where it lies outside a circuit
(`references`, `prompt_references`). An *edit* says which nodes of a site change, where and how (`edits`; for one node
by hand, `interventions`). `writing` turns edits into what the splice writes back. `spliced_model` runs and records the
whole model, `resuming` runs it from a site on, and `recording` holds what a run leaves behind.
"""
