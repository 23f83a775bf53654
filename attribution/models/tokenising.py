"""From text to token ids and back: the one place where prompts are tokenised.

A prompt is opened by BOS if the model has one, whether or not its tokenizer adds BOS by itself.
"""

from typing import Any


def prompt_ids(tokenizer: Any, bos_id: int | None, text: str) -> list[int]:
    """Token ids of a prompt, BOS first if the model has one.

    Raises:
        ValueError: there is no tokenizer.
    """
    if tokenizer is None:
        raise ValueError("The model has no tokenizer: give token ids (clean_ids, patch_ids) instead of text.")
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids if bos_id is None or ids[:1] == [bos_id] else [bos_id, *ids]


def token_text(tokenizer: Any, token_id: int) -> str:
    """One token as a person reads it; its number if there is no tokenizer."""
    return str(token_id) if tokenizer is None else tokenizer.decode([token_id])
