"""A sweep over steering strengths as plain data: what steering does at each strength, and what it costs.

metric               of every prompt
KL                   KL(unsteered ‖ steered) of the next token where the metric is read, of every prompt, in nats
fluency              cross-entropy of the steered text in the unsteered model, in nats per token
KL, CE on text       the same KL, and the cross-entropy of the text itself, on text that has nothing to do with it
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphs.cautions import Caution
from graphs.short_repr import short_repr


@dataclass(frozen=True)
class SteeredText:
    """One sample: the number of its prompt, its text, its tokens, and their mean cross-entropy when unsteered."""

    prompt: int
    text: str
    tokens: int
    cross_entropy: float


@dataclass(frozen=True)
class SteeredAt:
    """What steering does at one strength.

    Attributes:
        strength: 1 is the changes as they are written, 0 the unsteered model.
        metric, kl: of each prompt.
        likeliest: the likeliest next token of each prompt.
        samples: of each prompt; none if no text was generated.
        text_kl, text_cross_entropy: on general text, in nats per token; None if there was none.
    """

    __repr__ = short_repr

    strength: float
    metric: tuple[float, ...]
    kl: tuple[float, ...]
    likeliest: tuple[str, ...]
    samples: tuple[SteeredText, ...] = ()
    text_kl: float | None = None
    text_cross_entropy: float | None = None

    @property
    def mean_metric(self) -> float:
        """Mean over prompts."""
        return sum(self.metric) / len(self.metric)

    @property
    def mean_kl(self) -> float:
        """Mean over prompts, in nats."""
        return sum(self.kl) / len(self.kl)

    @property
    def fluency(self) -> float | None:
        """Mean over all generated tokens, in nats; lower is more fluent. None if no text was generated."""
        tokens = sum(sample.tokens for sample in self.samples)
        return sum(s.tokens * s.cross_entropy for s in self.samples) / tokens if tokens else None


@dataclass(frozen=True)
class SteeringSweep:
    """A sweep over strengths.

    Attributes:
        changes: what is done, as it was written.
        when: at which positions nodes without one of their own change: `always`, `prompt` or `generating`.
        error_mode: what becomes of SAE errors.
        metric, unit: the name of the metric, and its unit.
        prompts: as text.
        strengths: what was found at each, in increasing order; the unsteered model is among them.
        idle: changes that changed nothing at any strength.
        maxima: the largest activation that each change counts, where it counts maxima.
        documents: how many documents of general text there were.
        warnings: what is no error, but makes less sense than it looks.
    """

    __repr__ = short_repr

    changes: tuple[str, ...]
    when: str
    error_mode: str
    metric: str
    unit: str
    prompts: tuple[str, ...]
    strengths: tuple[SteeredAt, ...]
    idle: tuple[str, ...] = ()
    maxima: Mapping[str, float] = field(default_factory=dict)
    documents: int = 0
    warnings: tuple[Caution, ...] = ()

    def at(self, strength: float) -> SteeredAt:
        """What was found at one strength.

        Raises:
            LookupError: it was not measured; the message lists those that were.
        """
        for found in self.strengths:
            if found.strength == strength:
                return found
        known = ", ".join(f"{found.strength:g}" for found in self.strengths)
        raise LookupError(f"No strength {strength:g} in this sweep. Strengths: {known}.")

    @property
    def unsteered(self) -> SteeredAt:
        """What was found at strength 0."""
        return self.at(0.0)
