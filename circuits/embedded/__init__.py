"""The model, tokenizer and SAEs that ship with the project, the loading of others, and the recipe that trained these.

For other rooms: `load_model`, `load_saes`, `splice`, `sae_sets` in `load.py`; `documents` in `language.py` generates
text.
"""
