"""The model, tokenizer and SAEs that ship with the project, the recipe that trained them, and how to load others.

For other rooms: `load_model`, `load_saes`, `splice`, `sae_sets` in `load.py`; `documents` in `language.py` generates
text.
"""
