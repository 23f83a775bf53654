"""What opens a prompt: the BOS token, or nothing. Decided once for a model, by the first of these that says something:

    1. the user          `always`, `never`, or `tokenizer`: as the tokenizer does it by itself
    2. the dictionaries  what they were trained on (`prepend_bos`), if they agree
    3. the architecture  TransformerLens' `default_prepend_bos`
    4. the tokenizer     what it does by itself

Only a token that the tokenizer's own files call BOS is ever put in front. TransformerLens writes the end-of-text token
into `bos_token` of a tokenizer that has none; that is not its BOS.
"""

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, final, get_args

from graphs.short_repr import in_brief

Bos = Literal["always", "never", "tokenizer"]
"""Whether prompts are opened by BOS: a user's choice."""
BOS_CHOICES: Final[tuple[Bos, ...]] = get_args(Bos)
_CHOOSE: Final = "Choose with --bos always or never (in Python: load_model(..., bos=...))."


@dataclass(frozen=True)
class Opening:
    """The token that is put in front of a prompt's text, None if nothing is, and why."""

    token_id: int | None
    reason: str

    @property
    def ids(self) -> tuple[int, ...]:
        """The token as the start of a prompt: one id, or none."""
        return () if self.token_id is None else (self.token_id,)


def own_bos_id(tokenizer: Any) -> int | None:
    """The token that the tokenizer's own files call BOS; None if they name none."""
    found = getattr(tokenizer, "bos_token_id", None)
    if found is None or not hasattr(tokenizer, "init_kwargs"):
        return found
    if getattr(tokenizer, "bos_token", None) != getattr(tokenizer, "eos_token", None):
        return found
    default = inspect.signature(type(tokenizer).__init__).parameters.get("bos_token")
    said = tokenizer.init_kwargs.get("bos_token", None if default is None else default.default)
    return None if said in (None, inspect.Parameter.empty) else found


def adds_bos_itself(tokenizer: Any, bos_id: int | None) -> bool:
    """Whether the tokenizer, left to itself, opens a text with BOS."""
    if bos_id is None or not callable(tokenizer):
        return False
    bare: Any = tokenizer("a", add_special_tokens=False)
    whole: Any = tokenizer("a")
    return whole["input_ids"][:1] == [bos_id] != bare["input_ids"][:1]


@final
class PromptOpening:
    """The decision for one model. It is made when the dictionaries are known, or when the first prompt is tokenised.

    Args:
        tokenizer: as its files say; None if the model has none.
        bos_id: what `own_bos_id` says of it.
        architecture: TransformerLens' `default_prepend_bos`; None if it says nothing.
        chosen: the user's choice; None if there is none.

    Raises:
        ValueError: an unknown choice, or `always` for a tokenizer without BOS.
    """

    def __init__(self, tokenizer: Any, bos_id: int | None, architecture: bool | None, chosen: str | None) -> None:
        self.chosen: Bos | None = next((choice for choice in BOS_CHOICES if choice == chosen), None)
        if chosen is not None and self.chosen is None:
            raise ValueError(f"No choice of BOS {in_brief(chosen)}. Choose one of: {', '.join(BOS_CHOICES)}.")
        if chosen == "always" and bos_id is None:
            raise ValueError("BOS cannot always be put in front: the tokenizer has none. Choose never or tokenizer.")
        self._tokenizer, self._bos_id, self._architecture = tokenizer, bos_id, architecture
        self._decided: Opening | None = None
        self._told = False

    @property
    def decided(self) -> Opening:
        """The decision. What dictionaries say later no longer changes it."""
        self._decided = self._decided or self._decide({})
        return self._decided

    def hear(self, dictionaries: Mapping[str, bool | None]) -> None:
        """Decide, if nothing is decided yet, with what the dictionaries say of BOS, by site.

        Warns of dictionaries that disagree with each other, with the tokenizer, or with the decision.
        """
        with_bos, without = ([s for s, said in dictionaries.items() if said is wanted] for wanted in (True, False))
        late = self._decided is not None
        opening = self._decided = self._decided or self._decide(dictionaries)
        does = "open with BOS" if opening.token_id is not None else "do not open with BOS"
        if with_bos and without:
            _warn(
                f"The SAEs disagree about BOS: {_named(with_bos)} was trained with it, {_named(without)} without. "
                f"Prompts {does} ({opening.reason}). {_CHOOSE} Or splice SAEs of one kind (--sites)."
            )
        elif with_bos and self._bos_id is None:
            _warn(
                f"The SAEs were trained with a token in front ({_named(with_bos)}: prepend_bos), but the tokenizer has "
                "no BOS, so nothing is put there. If it was another token, give prompts as ids that open with it."
            )
        elif late and self.chosen is None and (without if opening.token_id is not None else with_bos):
            _warn(
                f"The SAEs were trained {'without' if without else 'with'} BOS, but prompts {does}: that was decided "
                f"earlier ({opening.reason}). Splice these SAEs before the first prompt is tokenised. {_CHOOSE}"
            )

    def of(self, text: str, ids: list[int]) -> list[int]:
        """`ids`, those of the text alone, after the opening. A text that opens with BOS itself is left as it is."""
        opening = self.decided
        if self._bos_id is None or ids[:1] != [self._bos_id]:
            return [*opening.ids, *ids]
        if not self._told:
            self._told = True
            does = "prompts get one anyway" if opening.ids else f"prompts do not ({opening.reason})"
            _warn(
                f"The text {text[:60]!r} opens with BOS itself; {does}. It is kept once, as written. Leave it out of "
                f"the texts. {_CHOOSE}"
            )
        return ids

    def _decide(self, dictionaries: Mapping[str, bool | None]) -> Opening:
        if self._bos_id is None:
            return Opening(None, "the tokenizer has no BOS")
        if self.chosen == "tokenizer":
            return self._if(adds_bos_itself(self._tokenizer, self._bos_id), "as the tokenizer does by itself")
        said = {answer for answer in dictionaries.values() if answer is not None}
        if self.chosen is not None:
            asked = self.chosen == "always"
            return self._if(asked, "as chosen; the SAEs say otherwise" if said == {not asked} else "as chosen")
        if len(said) == 1:
            return self._if(said.pop(), "as the SAEs were trained")
        if self._architecture is not None:
            return self._if(self._architecture, "TransformerLens' default for this architecture")
        return self._if(adds_bos_itself(self._tokenizer, self._bos_id), "as the tokenizer does by itself")

    def _if(self, opens: bool, reason: str) -> Opening:
        return Opening(self._bos_id if opens else None, reason)


def _named(sites: list[str]) -> str:
    """The first of some sites, with their number."""
    return sites[0] if len(sites) == 1 else f"{sites[0]} (and {len(sites) - 1} more)"


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=4)
