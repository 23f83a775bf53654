"""The model, tokenizer and SAEs that ship with the project, and the recipe that trained them."""
