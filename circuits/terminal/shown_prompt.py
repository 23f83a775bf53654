"""The first lines of a run: a prompt as the model reads it, and whether SAEs are spliced in at the token that opens it.

first of 100 prompts: [<s>]|the|doctors|near|the|cake
[ ]: BOS, not spliced (--splice-bos does). It opens prompts: as the SAEs were trained.
"""

from typing import TYPE_CHECKING

from rich.text import Text

from circuits.terminal.printable import printable

if TYPE_CHECKING:
    from attribution.prompts.prompt_pair import PromptPair
    from attribution.splice.spliced_model import SplicedModel


def shown_prompt(spliced: "SplicedModel", pair: "PromptPair", count: int, which: str = "first") -> Text:
    """The clean prompt of a pair token by token, its BOS in brackets, and what opens prompts and why, in two lines.

    `which` says which of the `count` prompts it is.
    """
    model = spliced.model
    first, *others = model.token_texts(pair.clean_ids)
    opened = pair.clean_ids[0] == model.bos_id
    tokens = printable("|".join((f"[{first}]" if opened else first, *others)).replace("\n", "\\n"))
    of = f"{which} of {count:,} prompts" if count > 1 else "prompt"
    return Text.assemble(f"{of}: ", (tokens, "bold"), f"\n{_opening_in_words(spliced, opened)}")


def _opening_in_words(spliced: "SplicedModel", opened: bool) -> str:
    opening = spliced.model.opening
    if not opened:
        by_hand = "" if opening.token_id is None else " The prompts were given so, as ids."
        return f"No BOS opens it: SAEs are spliced in at every token ({opening.reason}).{by_hand}"
    spliced_in = "spliced" if spliced.splice_bos else "not spliced (--splice-bos does)"
    if opening.token_id is None:
        return f"[ ]: BOS, {spliced_in}. It was given with the prompt: {opening.reason}, prompts do not open with it."
    return f"[ ]: BOS, {spliced_in}. It opens prompts: {opening.reason}."
