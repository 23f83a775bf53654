"""From a task's words to the prompt pairs of a model."""

from typing import Final

from attribution.models.language_model import LanguageModel
from attribution.prompts.prompt_pairs import PromptPair, PromptPairs, pair_from
from circuits.tasks.templates import text_pairs

END: Final = "end"
"""The role of the last position in every template: what stands there differs, but the answer is read there."""


def prompt_pairs(task: str, split: str, count: int, seed: int, model: LanguageModel) -> PromptPairs:
    """`count` pairs of a task, tokenised for a model that has each word as one token.

    Roles name the positions; BOS, where the model has one, has the role `bos`, and the last position is `end`.
    """
    opening = () if model.bos_id is None else ("bos",)
    pairs: list[PromptPair] = []
    for row, text in enumerate(text_pairs(task, split, count, seed)):
        roles = (*opening, *text.roles[:-1], END)
        entry = {"clean": text.clean, "patch": text.patch, "answer": text.answer, "wrong": text.wrong}
        pair = pair_from(row, entry, model)
        if len(pair) != len(roles):
            raise ValueError(
                f"The model's tokenizer splits words of task {task!r} ({text.clean!r} is {len(pair)} tokens for "
                f"{len(roles)} words). The tasks are written for the embedded model; give your own pairs "
                "with --pairs for another one."
            )
        pairs.append(PromptPair(pair.clean_ids, pair.patch_ids, pair.answer_id, pair.foil_id, roles))
    return PromptPairs(tuple(pairs))
