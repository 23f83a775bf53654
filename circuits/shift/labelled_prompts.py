"""Prompts with an intended and a spurious label, and the accuracy of predictions in their four subgroups.

subgroup (i, s)     the prompts with intended label i and spurious label s
worst subgroup      the smallest of the four accuracies on the intended label
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attribution.models.language_model import LanguageModel
from circuits.shift.site_activations import token_prompts
from circuits.tasks.stereotypes import LabelledText

SUBGROUPS = ((False, False), (False, True), (True, False), (True, True))
"""The four subgroups, each as (intended label, spurious label)."""


@dataclass(frozen=True, eq=False)
class LabelledPrompts:
    """Token ids and the two labels of each prompt."""

    prompts: tuple[tuple[int, ...], ...]
    intended: Bool[Tensor, " text"]
    spurious: Bool[Tensor, " text"]

    def __post_init__(self) -> None:
        counts = {len(self.prompts), len(self.intended), len(self.spurious)}
        if len(counts) != 1:
            raise ValueError(f"Prompts and labels differ in number: {sorted(counts)}. Give each prompt both labels.")

    @classmethod
    def of_texts(
        cls, model: LanguageModel, texts: Sequence[str], intended: Sequence[bool], spurious: Sequence[bool]
    ) -> "LabelledPrompts":
        """Texts as token ids of the model. Raises a ValueError for a word that its tokenizer does not know."""
        return cls(token_prompts(model, texts), torch.tensor(list(intended)), torch.tensor(list(spurious)))

    @classmethod
    def of(cls, model: LanguageModel, texts: Sequence[LabelledText]) -> "LabelledPrompts":
        """Texts of the embedded language. A text of neither class gets the intended label False, which is not read."""
        intended, spurious = [bool(t.intended) for t in texts], [t.spurious for t in texts]
        return cls.of_texts(model, [t.text for t in texts], intended, spurious)

    def __len__(self) -> int:
        return len(self.prompts)


@dataclass(frozen=True)
class Interval:
    """A number and its 95% percentile interval from a bootstrap over texts."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1%} [{self.low:.1%}, {self.high:.1%}]"


@dataclass(frozen=True)
class SubgroupAccuracy:
    """Shares of right predictions, from 0 to 1.

    Attributes:
        intended, spurious: on each label, over all texts.
        worst: on the intended label, in the subgroup where it is lowest.
        subgroups: on the intended label in each subgroup, in the order of `SUBGROUPS`.
    """

    intended: Interval
    spurious: Interval
    worst: Interval
    subgroups: tuple[float, float, float, float]


def subgroup_accuracy(
    predicted: Bool[Tensor, " text"], labelled: LabelledPrompts, *, resamples: int = 1000, seed: int = 0
) -> SubgroupAccuracy:
    """Accuracies with their intervals. The bootstrap resamples texts within each subgroup.

    Raises:
        ValueError: not one prediction for each text, or a subgroup without texts.
    """
    if len(predicted) != len(labelled):
        raise ValueError(f"{len(predicted)} predictions for {len(labelled)} texts. Give one prediction for each text.")
    chosen = [(labelled.intended == i) & (labelled.spurious == s) for i, s in SUBGROUPS]
    for (i, s), members in zip(SUBGROUPS, chosen, strict=True):
        if not members.any():
            raise ValueError(
                f"No text has intended label {i} and spurious label {s}, so this subgroup's accuracy is undefined. "
                "Give texts of all four subgroups."
            )
    sizes = torch.tensor([int(members.sum()) for members in chosen]).double()
    right = torch.stack([(predicted == labelled.intended)[members].double().mean() for members in chosen])
    # Of n draws with replacement from n texts, k of them right, binomial(n, k / n) are right.
    generator = torch.Generator().manual_seed(seed)
    draws = torch.binomial(sizes.expand(resamples, 4), right.expand(resamples, 4), generator=generator) / sizes
    shares = sizes / sizes.sum()
    agrees = torch.tensor([1.0 if i == s else -1.0 for i, s in SUBGROUPS], dtype=torch.float64)

    def spurious(accuracy: Float[Tensor, "*draw subgroup"]) -> Float[Tensor, "*draw"]:
        """A prediction that is right on one label is right on the other if they agree, and wrong if they differ."""
        return (torch.where(agrees > 0, accuracy, 1 - accuracy) * shares).sum(-1)

    return SubgroupAccuracy(
        intended=_interval((right * shares).sum(), (draws * shares).sum(-1)),
        spurious=_interval(spurious(right), spurious(draws)),
        worst=_interval(right.min(), draws.min(-1).values),
        subgroups=(float(right[0]), float(right[1]), float(right[2]), float(right[3])),
    )


def _interval(value: Float[Tensor, ""], draws: Float[Tensor, " draw"]) -> Interval:
    low, high = torch.quantile(draws, torch.tensor([0.025, 0.975], dtype=draws.dtype)).tolist()
    return Interval(float(value), low, high)
