"""Reference values from other prompts, matched by the names of positions.

    Mean       each feature's and error's mean over all positions of that name in a set of prompts, clean and patch
    Resample   the values in another prompt of the set whose positions have the same names; several draws

For an SAE that normalises, the mean is taken over what a feature writes (scale · f) and over the frame's offset.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from attribution.prompts.position_names import position_names
from attribution.prompts.prompt_pairs import PairBatch, PromptPairs
from attribution.splice.recording import SparseFeatures
from attribution.splice.references import PreparedReference, SiteReference, values_in_run
from attribution.splice.spliced_model import SplicedModel
from graphs.short_repr import short_repr

BATCH = 32


@dataclass(frozen=True)
class Mean:
    """The mean over the clean and patch prompts of `prompts`; by default, of the pairs that are measured.

    Preparing it raises a ValueError for pairs with a position whose name no reference prompt has.
    """

    __repr__ = short_repr

    prompts: PromptPairs | None = None
    name: str = "mean"

    def prepared(self, spliced: SplicedModel, pairs: PromptPairs) -> PreparedReference:
        source = pairs if self.prompts is None else self.prompts
        source.check_fits(spliced.model, splice_bos=spliced.splice_bos)
        found = _Means(spliced, source, position_names(source), position_names(pairs))
        known = found.known()
        for pair, names in zip(pairs, position_names(pairs), strict=True):
            bare = int(not spliced.splice_bos and pair.clean_ids[0] == spliced.model.bos_id)
            if missing := [name for name in names[bare:] if name not in known]:
                raise ValueError(
                    f"No reference prompt has a position named {missing[0]!r}, so there is no mean for it. Give "
                    "reference prompts of every template, such as the measured prompts themselves."
                )
        return found


@dataclass(frozen=True)
class _Sums:
    """Sums over prompts in float64; row n belongs to the n-th position name."""

    features: Mapping[str, Float[Tensor, "name d_sae"]]
    errors: Mapping[str, Float[Tensor, "name width"]]
    offsets: dict[str, Float[Tensor, "name width"]]
    count: Float[Tensor, " name"]
    like: Mapping[str, Tensor]

    @classmethod
    def empty(cls, spliced: SplicedModel, names: int) -> "_Sums":
        saes = spliced.saes
        count = torch.zeros(names, dtype=torch.float64, device=spliced.model.device)
        return cls(
            {s: count.new_zeros(names, sae.d_sae) for s, sae in saes.items()},
            {s: count.new_zeros(names, sae.d_in) for s, sae in saes.items()},
            {s: count.new_zeros(names, sae.d_in) for s, sae in saes.items() if sae.normalisation != "none"},
            count,
            {s: sae.b_dec for s, sae in saes.items()},
        )

    def add(self, values: Mapping[str, SiteReference], number: Tensor, here: Tensor) -> None:
        """Add the spliced positions of one run; `number` is the number of each position's name."""
        self.count.index_add_(0, number, torch.ones_like(number, dtype=torch.float64))
        for site, value in values.items():
            self.features[site].index_add_(0, number, value.features.dense()[here].double())
            self.errors[site].index_add_(0, number, value.error[here].double())
            if value.offset is not None:
                self.offsets[site].index_add_(0, number, value.offset[here].double())

    def means(self) -> "dict[str, tuple[Tensor, Tensor, Tensor | None]]":
        """Per site: features, error and offset by the number of the name; 0 for names that are never spliced."""
        count = self.count.clamp(min=1)[:, None]
        found: dict[str, tuple[Tensor, Tensor, Tensor | None]] = {}
        for site, like in self.like.items():
            offset = self.offsets[site] / count if site in self.offsets else None
            features, errors = (v[site] / count for v in (self.features, self.errors))
            found[site] = (features.to(like), errors.to(like), None if offset is None else offset.to(like))
        return found


@dataclass(frozen=True)
class _Means:
    """Means over the prompts of `source`, measured when they are first needed."""

    spliced: SplicedModel
    source: PromptPairs
    source_names: list[tuple[str, ...]]
    names: list[tuple[str, ...]]
    draws: int = 1

    def __call__(self, batch: PairBatch, draw: int) -> Mapping[str, SiteReference]:
        numbers = _numbers(batch, self.names, self.place)
        return {
            site: SiteReference(
                SparseFeatures.of(features[numbers]), error[numbers], None if offset is None else offset[numbers]
            )
            for site, (features, error, offset) in self.means.items()
        }

    def digest(self, examples: range) -> str:
        """The reference prompts, with the names of their positions and of the measured ones."""
        return json.dumps([self._source, [self.names[example] for example in examples]])

    @cached_property
    def _source(self) -> str:
        names = json.dumps(self.source_names).encode()
        return self.source.digest() + hashlib.sha256(names).hexdigest()

    @cached_property
    def place(self) -> Mapping[str, int]:
        """The number of each name."""
        return {name: n for n, name in enumerate(sorted({n for names in self.source_names for n in names}))}

    def known(self) -> set[str]:
        """Names that belong to a spliced position of some prompt."""
        found: set[str] = set()
        for batch, ids in self._prompts():
            here = self.spliced.spliced_positions(ids, batch.last).tolist()
            for example, row in zip(batch.example.tolist(), here, strict=True):
                found |= set(compress(self.source_names[example], row))
        return found

    @cached_property
    def means(self) -> "Mapping[str, tuple[Tensor, Tensor, Tensor | None]]":
        """By site and number of the name."""
        sums = _Sums.empty(self.spliced, len(self.place))
        for batch, ids in self._prompts():
            here = self.spliced.spliced_positions(ids, batch.last)
            numbers = _numbers(batch, self.source_names, self.place)
            sums.add(values_in_run(self.spliced, ids, batch.last), numbers[here], here)
        return sums.means()

    def _prompts(self) -> Iterator[tuple[PairBatch, Tensor]]:
        for batch in self.source.batches(BATCH, self.spliced.model):
            yield batch, batch.clean_ids
            yield batch, batch.patch_ids


@dataclass(frozen=True)
class Resample:
    """The values in a prompt, clean or patch, of another pair with the same position names.

    The metric is averaged over `draws` draws. Preparing it raises a ValueError for a pair whose position names no other
    pair has.
    """

    draws: int = 4
    seed: int = 0
    name: str = "resample"

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"draws must be at least 1; got {self.draws}.")

    def prepared(self, spliced: SplicedModel, pairs: PromptPairs) -> PreparedReference:
        names = position_names(pairs)
        groups: dict[tuple[object, ...], list[int]] = {}
        group = [(own, pair.clean_ids[0] == spliced.model.bos_id) for own, pair in zip(names, pairs, strict=True)]
        for example, own in enumerate(group):
            groups.setdefault(own, []).append(example)
        draw = np.random.default_rng(self.seed)
        chosen: list[list[tuple[int, ...]]] = []
        for example, own in enumerate(group):
            pair = pairs[example]
            others = [p for n in groups[own] if n != example for p in (pairs[n].clean_ids, pairs[n].patch_ids)]
            others = [ids for ids in others if ids != pair.clean_ids]
            if not others:
                raise ValueError(
                    f"No other prompt has the position names of pair {example} ({', '.join(names[example])}): there "
                    "is nothing to resample from. Give more prompts of that template, or choose another reference."
                )
            chosen.append([others[int(n)] for n in draw.integers(len(others), size=self.draws)])
        return _Resampled(spliced, chosen, self.draws)


@dataclass(frozen=True)
class _Resampled:
    """The prompt whose values each example takes in each draw."""

    spliced: SplicedModel
    chosen: list[list[tuple[int, ...]]] = field(repr=False)
    draws: int

    def __call__(self, batch: PairBatch, draw: int) -> Mapping[str, SiteReference]:
        ids = torch.zeros_like(batch.clean_ids)
        for row, example in enumerate(batch.example.tolist()):
            own = self.chosen[example][draw]
            ids[row, : len(own)] = ids.new_tensor(own)
        return values_in_run(self.spliced, ids, batch.last)

    def digest(self, examples: range) -> str:
        """The prompts that were drawn."""
        return json.dumps([self.chosen[example] for example in examples])


def _numbers(batch: PairBatch, names: list[tuple[str, ...]], place: Mapping[str, int]) -> Tensor:
    """The number of each position's name; 0 at padding and for unknown names."""
    numbers = torch.zeros_like(batch.clean_ids)
    for row, example in enumerate(batch.example.tolist()):
        own = names[example]
        numbers[row, : len(own)] = numbers.new_tensor([place.get(name, 0) for name in own])
    return numbers
