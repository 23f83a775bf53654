"""The first lines of a run: a prompt as the model reads it, its answers, and whether SAEs are spliced in at its BOS.

first of 100 prompts: [<s>]|the|doctors|near|the|cake → ' are', not ' is'
[ ]: BOS, not spliced (--splice-bos does). It opens prompts: as the SAEs were trained.
"""

from typing import TYPE_CHECKING

from rich.text import Text

from circuits.terminal.printable import printable

if TYPE_CHECKING:
    from attribution.prompts.answers import Tokens
    from attribution.prompts.prompt_pair import PromptPair
    from attribution.splice.spliced_model import SplicedModel


def shown_prompt(spliced: "SplicedModel", pair: "PromptPair", count: int, which: str = "first") -> Text:
    """The clean prompt of a pair token by token, its BOS in brackets, its answers; what opens prompts, and why.

    Answers are as they follow the prompt, spaces included; a line break is `<0x0A>`. `which` says which of the `count`
    prompts it is.
    """
    model = spliced.model
    first, *others = model.shown_tokens(pair.clean_ids)
    opened = pair.clean_ids[0] == model.bos_id
    shown = "|".join((f"[{first}]" if opened else first, *others)[: pair.end + 1])
    of = f"{which} of {count:,} prompts" if count > 1 else "prompt"
    return Text.assemble(
        f"{of}: ",
        (printable(shown), "bold"),
        f" → {_answers_in_words(spliced, pair)}\n{_opening_in_words(spliced, opened)}",
    )


def _answers_in_words(spliced: "SplicedModel", pair: "PromptPair") -> str:
    prompt = pair.clean_ids[: pair.end + 1]

    def of(answers: "tuple[Tokens, ...]") -> str:
        texts = ("|".join(spliced.model.shown_tokens((*prompt, *answer))[len(prompt) :]) for answer in answers)
        return " or ".join(f"'{printable(text)}'" for text in texts)

    wrong = f", not {of(pair.every_foil)}" if pair.every_foil else ""
    return of(pair.every_answer) + wrong + (" (its likeliest two)" if pair.predicted else "")


def _opening_in_words(spliced: "SplicedModel", opened: bool) -> str:
    opening = spliced.model.opening
    if not opened:
        by_hand = "" if opening.token_id is None else " The prompts were given so, as ids."
        return f"No BOS opens it: SAEs are spliced in at every token ({opening.reason}).{by_hand}"
    spliced_in = "spliced" if spliced.splice_bos else "not spliced (--splice-bos does)"
    if opening.token_id is None:
        return f"[ ]: BOS, {spliced_in}. It was given with the prompt: {opening.reason}, prompts do not open with it."
    return f"[ ]: BOS, {spliced_in}. It opens prompts: {opening.reason}."
