"""Feature labels: what an SAE feature stands for, with the evidence from a corpus and from the model's weights."""

import math
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final, Literal

from graphs.fields.quantities import Count, Share
from graphs.short_repr import cut, short_repr

YOURS: Final = "yours"
CONTEXTS: Final = "contexts"


@dataclass(frozen=True)
class Writer:
    """What one attention head writes from one source position into a feature (direct feature attribution).

    Attributes:
        head: the head's index.
        back: how many tokens the source lies before the marked token.
        token: the token at the source.
        part: the head's part of the encoder's projection, in its units; positive where it raises the feature.
    """

    head: Count
    back: Count
    token: str
    part: float


@dataclass(frozen=True)
class Context:
    """A passage of text in which a feature is active, namely on `tokens[place]`.

    Attributes:
        tokens: the passage; joined, the tokens are its text.
        place: index of the token that the feature is active on.
        activation: the feature's activation there.
        writers: the heads that wrote it there; only for features of attention outputs.
    """

    __repr__ = short_repr

    tokens: tuple[str, ...]
    place: Count
    activation: float
    writers: tuple[Writer, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.place < len(self.tokens):
            raise ValueError(f"A context marks token {self.place} of {len(self.tokens)}.")


@dataclass(frozen=True)
class FeatureLabel:
    """One feature's label and the evidence for it.

    Attributes:
        source: `yours` for a label given by a person, `contexts` for one made by a rule from the evidence below.
        contexts: distinct passages with the largest activations, strongest first, at most one per document.
        promoted, suppressed: tokens with their logit weights: the logits that the feature's decoder direction alone
            gives in the last residual stream (at root mean square 1), minus their mean over the vocabulary. None where
            the direction is not added to the residual stream.
        frequency: share of the corpus's tokens on which the feature is active.
        mean_activation: mean over these tokens; None where there are none.
    """

    __repr__ = short_repr

    site: str
    index: Count
    text: str
    source: Literal["yours", "contexts"]
    contexts: tuple[Context, ...]
    promoted: tuple[tuple[str, float], ...] | None
    suppressed: tuple[tuple[str, float], ...] | None
    frequency: Share
    mean_activation: float | None

    def __post_init__(self) -> None:
        if self.source not in (YOURS, CONTEXTS):
            raise ValueError(
                f"The label of {self.name} has source {self.source!r}; expected {YOURS!r} or {CONTEXTS!r}."
            )
        if not 0 <= self.frequency <= 1:
            raise ValueError(f"The frequency of {self.name} is {self.frequency}; a share lies between 0 and 1.")
        numbers = [self.mean_activation or 0.0, *(c.activation for c in self.contexts)]
        numbers += [w for _, w in (*(self.promoted or ()), *(self.suppressed or ()))]
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"The label of {self.name} holds a number that is not finite.")

    @property
    def name(self) -> str:
        """The feature's name: that of its nodes without the position, such as `blocks.3.hook_mlp_out/117`."""
        return f"{self.site}/{self.index}"


@dataclass(frozen=True)
class Labels:
    """Labels of some features of one model, in a given order.

    Attributes:
        corpus: name of the text that contexts and frequencies come from.
        tokens: number of its tokens, counting those at which SAEs are spliced in.
        inputs: hashes of model, SAEs and corpus.

    Raises:
        ValueError: a feature has two labels.
    """

    labels: tuple[FeatureLabel, ...]
    corpus: str
    tokens: Count
    inputs: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self._by_place) != len(self.labels):
            raise ValueError("A feature has two labels.")

    @cached_property
    def _by_place(self) -> dict[tuple[str, int], FeatureLabel]:
        return {(label.site, label.index): label for label in self.labels}

    def only(self, features: Container[tuple[str, int]]) -> "Labels":
        """The labels of these features, given by site and index."""
        return replace(self, labels=tuple(label for label in self.labels if (label.site, label.index) in features))

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return cut(f"Labels({len(self):,} features, read on {self.tokens:,} tokens of {self.corpus!r})")

    def __iter__(self) -> Iterator[FeatureLabel]:
        return iter(self.labels)

    def __contains__(self, feature: tuple[str, int]) -> bool:
        return feature in self._by_place

    def of(self, site: str, index: int) -> FeatureLabel:
        """The label of a feature; a feature without one is a LookupError that lists some that have one."""
        try:
            return self._by_place[site, index]
        except KeyError:
            some = ", ".join(label.name for label in self.labels[:5])
            raise LookupError(f"{site}/{index} has no label here. Labelled, among others: {some}.") from None
