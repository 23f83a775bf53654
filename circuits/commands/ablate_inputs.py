"""What `jumpwire ablate` reads: the operation, a text as prompt, general text for the side effect."""

import math
from typing import Final

import torch

from attribution.models.language_model import LanguageModel
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.edits import KEEP_ONLY, REMOVE, Operation, add, scale, set_to
from attribution.splice.spliced_model import SplicedModel
from circuits.ablation.node_names import token_roles
from circuits.ablation.side_effect import documents_of
from circuits.embedded.language import documents
from circuits.labels.corpus import corpus_from_file

OPERATIONS: Final = ("remove", "keep-only", "set=V", "add=V", "scale=V")
GENERAL_DOCUMENTS, GENERAL_SEED = 64, 2
"""Text of the embedded language on which neither the model nor the SAEs were trained."""


def parse_operation(text: str) -> Operation:
    """`remove`, `keep-only`, or `set=V`, `add=V`, `scale=V` with a number V."""
    plain = {"remove": REMOVE, "keep-only": KEEP_ONLY}
    if text in plain:
        return plain[text]
    name, _, number = text.partition("=")
    makers = {"set": set_to, "add": add, "scale": scale}
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if name in makers and abs(value) <= torch.finfo(torch.float32).max:
        return makers[name](value)
    raise ValueError(f"No operation {text!r}. Choose one of: {', '.join(OPERATIONS)}, with V a number.")


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


def general_text(file: str | None, spliced: SplicedModel, *, embedded: bool) -> tuple[str | None, list[list[int]]]:
    """A name for the general text and the token ids of its documents; (None, []) without a file, unless `embedded`."""
    if file is not None:
        return file, documents_of(corpus_from_file(file, spliced.model).read(), spliced)
    if embedded:
        return "the embedded language", documents_of(documents(GENERAL_DOCUMENTS, GENERAL_SEED), spliced)
    return None, []
