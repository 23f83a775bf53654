"""Any text as a prompt, without answers of its own."""

import torch

from attribution.models.language_model import LanguageModel
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from circuits.ablation.node_names import token_roles


def text_prompt(text: str, model: LanguageModel) -> PromptPairs:
    """A text as a pair of equal prompts; answer and wrong answer are the model's two likeliest next tokens."""
    ids = tuple(model.token_ids(text))
    unknown = model.unknown_id
    strange = [word for word in text.split() if unknown is not None and unknown in model.token_ids(word)]
    if strange:
        raise ValueError(
            f"--text {text!r}: the tokenizer does not know {', '.join(map(repr, strange))}. Use other words."
        )
    with torch.no_grad():
        first, second = model.logits(torch.tensor([ids], device=model.device))[0, -1].topk(2).indices.tolist()
    return PromptPairs((PromptPair(ids, ids, first, second, token_roles(ids, model)),))
