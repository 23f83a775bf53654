"""What one feature does: what fires it, writes it and reads it, what it promotes, and what follows when it is ablated.

Every number is measured on text, with the model as it is (`live` errors) and the feature set to 0 where it is ablated.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

from graphs.feature_labels import FeatureLabel
from graphs.short_repr import cut, short_repr

TokenWeights = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class FiringToken:
    """A token of the text: how often it occurs, and how often the feature is active on it."""

    token: str
    fires: int
    occurs: int


@dataclass(frozen=True)
class FiringInside:
    """How the feature fires inside the matches of a pattern.

    Attributes:
        name: the pattern's name, or the pattern.
        precision: share of the places where the feature fires that lie inside; None if it never fires.
        recall: share of the tokens inside on which it fires; None if there are none.
        base: share of all tokens that lie inside: the precision of a feature that fires anywhere.
    """

    name: str
    precision: float | None
    recall: float | None
    base: float


@dataclass(frozen=True)
class WritingPart:
    """What one part of the model contributes to the projection on the feature's encoder direction.

    Attributes:
        kind: an attention head, an MLP, the embedding of the place's own token, or the biases of attention outputs.
        layer, head: where it is; None where it has none.
        part: its mean over the places where the feature fires, in units of the projection.
        usual: its mean over all places.
        share: (part − usual) / (the projection's mean where it fires − its mean over all places). The shares of all
            parts add up to 1; negative: it keeps the feature from firing.
        tokens: the tokens with the largest shares of a head or the embedding, and these. For a head they are the
            tokens that it reads, and all of them add up to the head's share.
    """

    __repr__ = short_repr

    kind: Literal["head", "mlp", "embedding", "biases"]
    layer: int | None
    head: int | None
    part: float
    usual: float
    share: float
    tokens: TokenWeights = ()


@dataclass(frozen=True)
class ReadingFeature:
    """A later feature that changes when this one is ablated.

    Attributes:
        direct: what it loses over the direct path, every site in between held, per place where this feature fires.
        total: what it loses when everything in between reacts, likewise. Both in units of its own activation; positive:
            this feature raises it.
        share: `total` as a share of its whole activation on the same text; None where that is 0.
        promotes: the tokens that it promotes most.
    """

    __repr__ = short_repr

    site: str
    index: int
    direct: float
    total: float
    share: float | None
    promotes: tuple[str, ...]

    @property
    def name(self) -> str:
        """Site and index, as in `blocks.3.hook_mlp_out/117`."""
        return f"{self.site}/{self.index}"


@dataclass(frozen=True)
class TextEffect:
    """What ablating the feature everywhere does to text: cross-entropy and KL in nats per predicted token.

    `firings` counts the places where it was active.
    """

    cross_entropy_before: float
    cross_entropy_after: float
    kl: float
    tokens: int
    documents: int
    firings: int

    @property
    def kl_per_firing(self) -> float | None:
        """The KL of all tokens together, for each place where the feature is active; None without such a place."""
        return self.kl * self.tokens / self.firings if self.firings else None


@dataclass(frozen=True)
class Continuation:
    """A prompt that ends where the feature fires, and what follows without and with the ablation."""

    prompt: str
    before: str
    after: str


@dataclass(frozen=True)
class TriggerTest:
    """The feature ablated in prompts that end where it fires, and in prompts in which it never fires.

    Logits are those of the last position. Their change is what the ablation takes away, minus its mean over the
    vocabulary; positive: the feature raises the logit.

    Attributes:
        prompts: prompts in which it fires.
        promoted: the change of the mean logit of the tokens that its direction promotes, mean over these prompts; None
            where the direction is not added to the residual stream.
        fell: prompts in which that logit falls without the feature.
        changed: the tokens whose logits change most, strongest first, as means over these prompts.
        silent: prompts in which it never fires.
        alike: how many of them end in the same token as a prompt in which it fires.
        largest: the largest change of any logit at any position of the silent prompts; None if there are none.
    """

    __repr__ = short_repr

    prompts: int
    promoted: float | None
    fell: int
    changed: TokenWeights
    silent: int
    alike: int
    largest: float | None

    @property
    def holds(self) -> bool:
        """Whether the promoted logit falls on average where the feature fires, and nothing changes elsewhere."""
        return self.promoted is not None and self.promoted > 0 and self.largest == 0


@dataclass(frozen=True)
class FeatureReport:
    """Everything measured about one feature.

    Attributes:
        model: the model's name.
        label: contexts, promoted tokens, frequency, and a label.
        corpus, tokens: the text, and its number of tokens where SAEs are spliced in.
        fires_on: the tokens it is active on most often.
        inside: how it fires inside named contexts.
        written: what writes it, the largest |share| first; None where nothing linear does, as at the output of an MLP.
        readers: later features, the largest |direct| first.
        text: the ablation's effect on text.
        continuations: what is generated after prompts that end where it fires.
        test: the causal test; None if the feature never fires on the text.
    """

    model: str
    label: FeatureLabel
    corpus: str
    tokens: int
    fires_on: tuple[FiringToken, ...]
    inside: tuple[FiringInside, ...]
    written: tuple[WritingPart, ...] | None
    readers: tuple[ReadingFeature, ...]
    text: TextEffect
    continuations: tuple[Continuation, ...]
    test: TriggerTest | None

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, _numbers(self))):
            raise ValueError(f"The report of {self.name} holds a number that is not finite.")

    @property
    def name(self) -> str:
        """The feature's site and index."""
        return self.label.name

    def __repr__(self) -> str:
        tested = "never fires" if self.test is None else f"test {'holds' if self.test.holds else 'does not hold'}"
        return cut(f"FeatureReport({self.name}: {self.label.text!r}, {tested}, on {self.tokens:,} tokens)")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from _numbers(getattr(value, field.name))
    elif isinstance(value, tuple):
        for part in value:
            yield from _numbers(part)
