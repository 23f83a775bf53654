"""FeatureLabel: what one SAE feature is, as far as a corpus and the model's weights show it."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal

YOURS: Final = "yours"
CONTEXTS: Final = "contexts"


@dataclass(frozen=True)
class Writer:
    """One attention head at one source position, as a part of a feature's projection (direct feature attribution).

    `back` is how many tokens the source lies before the marked one; `token` stands there. `part` is in units of the
    encoder's projection; positive parts push the feature up.
    """

    head: int
    back: int
    token: str
    part: float


@dataclass(frozen=True)
class Context:
    """A place where a feature is active: some tokens, of which `tokens[place]` is the one it is active on.

    The tokens are written so that joined they are the text. `writers` belong to features of attention outputs.
    """

    tokens: tuple[str, ...]
    place: int
    activation: float
    writers: tuple[Writer, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.place < len(self.tokens):
            raise ValueError(f"A context marks token {self.place} of {len(self.tokens)}.")


@dataclass(frozen=True)
class FeatureLabel:
    """One feature's label and the evidence for it.

    Attributes:
        source: `yours` for a label that a person gave, `contexts` for one made from what follows by a rule.
        contexts: distinct places of largest activation, by falling activation; at most one per document.
        promoted, suppressed: tokens and logit weights: the logits that the feature's decoder direction gives alone in
            the last residual stream (at root mean square 1), relative to their mean over the vocabulary. None where
            the direction is not added to the residual stream.
        frequency: share of the corpus's tokens on which the feature is active.
        mean_activation: over these tokens; None where there are none.
    """

    site: str
    index: int
    text: str
    source: Literal["yours", "contexts"]
    contexts: tuple[Context, ...]
    promoted: tuple[tuple[str, float], ...] | None
    suppressed: tuple[tuple[str, float], ...] | None
    frequency: float
    mean_activation: float | None

    def __post_init__(self) -> None:
        if self.source not in (YOURS, CONTEXTS):
            raise ValueError(f"The label of {self.name} has source {self.source!r}; expected {YOURS}, {CONTEXTS}.")
        if not 0 <= self.frequency <= 1:
            raise ValueError(f"The frequency of {self.name} is {self.frequency}; it is a share.")
        numbers = [self.mean_activation or 0.0, *(c.activation for c in self.contexts)]
        numbers += [w for _, w in (*(self.promoted or ()), *(self.suppressed or ()))]
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"The label of {self.name} holds a number that is not finite.")

    @property
    def name(self) -> str:
        """As nodes are named, without the position: `blocks.3.hook_mlp_out/117`."""
        return f"{self.site}/{self.index}"


@dataclass(frozen=True)
class Labels:
    """Labels of some features of one model, in a given order.

    `corpus` names the text they were read from, `tokens` counts its tokens (those that are spliced), `inputs` holds
    hashes of model, SAEs and corpus.
    """

    labels: tuple[FeatureLabel, ...]
    corpus: str
    tokens: int
    inputs: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self._by_place) != len(self.labels):
            raise ValueError("A feature has two labels.")

    @cached_property
    def _by_place(self) -> dict[tuple[str, int], FeatureLabel]:
        return {(label.site, label.index): label for label in self.labels}

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[FeatureLabel]:
        return iter(self.labels)

    def __contains__(self, feature: tuple[str, int]) -> bool:
        return feature in self._by_place

    def of(self, site: str, index: int) -> FeatureLabel:
        """The label of a feature; one that was not labelled is a LookupError."""
        try:
            return self._by_place[site, index]
        except KeyError:
            some = ", ".join(label.name for label in self.labels[:5])
            raise LookupError(f"{site}/{index} has no label here. Labelled, among others: {some}.") from None
