"""What a feature is: the text it fires on, the tokens it promotes, what wrote it, and a label.

For other rooms: `label`, `LabelOptions`, `own_labels` (labels that a person gave), `embedded_corpus`,
`corpus_from_file`; `label_work`, for forecasts.
"""
