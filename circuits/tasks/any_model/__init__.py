"""Tasks for any model: templates whose words are looked for in the model's own tokenizer.

For other rooms: `ANY_TASKS` and `splits_of_any` (`registry.py`), `written_pairs` and `TaskRefused` (`writing.py`). A
task is one file, with its templates, its words and `draw`.
"""
