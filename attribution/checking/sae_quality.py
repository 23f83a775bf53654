"""The quality of the spliced SAEs on some text, each alone and all at once.

    CE recovered = (CE_zero − CE_spliced) / (CE_zero − CE_clean)        L0 = active features per token
    KL(model ‖ spliced) and CE increase, in nats per token              FVU = Σ|x − x̂|² / Σ|x − mean x|²

In the spliced run a site writes its reconstruction, in the zero run it writes 0; both at spliced positions only. Costs
one forward pass of the bare model, two for each SAE, and two for all of them together. Source: METHODS of this project,
section 7.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.models.hooks import SiteFunction, logits_with
from attribution.runs.chunk_file import with_prefix
from attribution.runs.chunk_key import environment_of, key_of
from attribution.runs.chunk_store import ChunkStore, kept_chunk
from attribution.runs.progress import Progress, silent
from attribution.splice.spliced_model import SplicedModel
from graphs import SAEQuality, SiteQuality

STAGE: Final = "sae_quality"
SCORED_AT_ONCE: Final = 8


def sae_quality(
    spliced: SplicedModel,
    prompts: Sequence[Sequence[int]],
    text: str,
    *,
    last_only: Sequence[int] | None = None,
    batch_size: int = 32,
    progress: Progress = silent,
) -> SAEQuality:
    """The quality of the SAEs on some prompts. Where chunks are kept (`attribution/runs`), each batch is a chunk.

    Args:
        spliced: the model with its SAEs.
        prompts: token ids of each text. Every next token is predicted, unless `last_only` is given.
        text: description of the prompts.
        last_only: one token for each prompt. Only this token is predicted, as the next one after the prompt.
        batch_size: prompts in one forward pass.
        progress: is called with the share of the work that is done.

    Raises:
        ValueError: no prompts, or none with a token to predict.
    """
    if not prompts or (last_only is None and max(map(len, prompts)) < 2):
        raise ValueError("There is no token to predict. Give texts of at least two tokens.")
    sums = {sites: _Sums() for sites in (*((site,) for site in spliced.sites), spliced.sites)}
    with spliced.model.frozen(), torch.no_grad():
        for part in spliced.model.lengths.cut(list(map(len, prompts)), batch_size):
            chosen = slice(part.start, part.stop)
            given = prompts[chosen], None if last_only is None else last_only[chosen]
            chunk = kept_chunk(
                STAGE, partial(_chunk_key, spliced, *given), lambda _, g=given: _sums_of_batch(spliced, *g)
            )
            for sites, found in sums.items():
                found.add(with_prefix(_prefix(sites), chunk))
            progress(part.stop / len(prompts))
    whole = sums[spliced.sites]
    return SAEQuality(
        text=text,
        tokens=whole.tokens,
        sites=tuple(sums[(site,)].of_site(site) for site in spliced.sites),
        ce_recovered=whole.recovered(),
        ce_increase=(whole.spliced - whole.clean) / whole.tokens,
        kl=whole.kl / whole.tokens,
    )


def _chunk_key(
    spliced: SplicedModel, prompts: Sequence[Sequence[int]], answers: Sequence[int] | None, store: ChunkStore
) -> str:
    ids = {"prompts": [list(ids) for ids in prompts], "answers": None if answers is None else list(answers)}
    return key_of({**environment_of(store, spliced), "quality": STAGE, **ids})


def _sums_of_batch(
    spliced: SplicedModel, prompts: Sequence[Sequence[int]], answers: Sequence[int] | None
) -> dict[str, np.ndarray]:
    """The sums of one batch, for every set of sites that is spliced together."""
    sums = {sites: _Sums() for sites in (*((site,) for site in spliced.sites), spliced.sites)}
    _Batch.of(spliced, prompts, answers).measure(spliced, sums)
    return {_prefix(sites) + name: values for sites, own in sums.items() for name, values in own.arrays().items()}


def _prefix(sites: tuple[str, ...]) -> str:
    return " ".join(sites) + ":"


@dataclass
class _Sums:
    """Sums for one set of sites: cross-entropies and KL over scored tokens, the rest over spliced positions."""

    tokens: int = 0
    clean: float = 0.0
    spliced: float = 0.0
    zero: float = 0.0
    kl: float = 0.0
    positions: int = 0
    active: float = 0.0
    missed: float = 0.0
    square: float = 0.0
    total: Tensor = field(default_factory=lambda: torch.zeros(()))

    def arrays(self) -> dict[str, np.ndarray]:
        """The sums by name."""
        return {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}

    def add(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Add the sums of another batch."""
        for name, values in arrays.items():
            more = torch.from_numpy(values) if name == "total" else values.item()
            setattr(self, name, getattr(self, name) + more)

    def recovered(self) -> float | None:
        return None if self.zero == self.clean else (self.zero - self.spliced) / (self.zero - self.clean)

    def of_site(self, site: str) -> SiteQuality:
        variance = self.square - float((self.total**2).sum()) / max(self.positions, 1)
        return SiteQuality(
            site=site,
            l0=self.active / max(self.positions, 1),
            fvu=self.missed / variance if variance > 0 else 0.0,
            ce_recovered=self.recovered(),
            ce_increase=(self.spliced - self.clean) / self.tokens,
            kl=self.kl / self.tokens,
        )


@dataclass(frozen=True)
class _Batch:
    """Prompts padded on the right.

    Attributes:
        following: the next token at each position.
        scored: True where the next token is predicted.
        here: True at spliced positions.
    """

    ids: Int[Tensor, "row pos"]
    last: Int[Tensor, " row"]
    following: Int[Tensor, "row pos"]
    scored: Bool[Tensor, "row pos"]
    here: Bool[Tensor, "row pos"]

    @classmethod
    def of(cls, spliced: SplicedModel, prompts: Sequence[Sequence[int]], answers: Sequence[int] | None) -> "_Batch":
        width, device = max(map(len, prompts)), spliced.model.device
        ids = torch.tensor([[*p, *[0] * (width - len(p))] for p in prompts], device=device)
        last = torch.tensor([len(p) - 1 for p in prompts], device=device)
        following, place = torch.roll(ids, -1, dims=1), torch.arange(width, device=device)
        scored = place < last[:, None]
        if answers is not None:
            rows = torch.arange(len(prompts), device=device)
            following[rows, last] = torch.tensor(answers, device=device)
            scored = place == last[:, None]
        return cls(ids, last, following, scored, spliced.spliced_positions(ids, last))

    def measure(self, spliced: SplicedModel, sums: dict[tuple[str, ...], _Sums]) -> None:
        """Add this batch to the sums of every set of sites that is spliced together."""
        clean = self._logits(spliced, {})
        for sites, found in sums.items():
            seen: dict[str, _Seen] = {}
            written = self._logits(spliced, dict(self._reconstructions(spliced, sites, seen)))
            nothing = self._logits(spliced, dict.fromkeys(sites, self._zero))
            self._compare(clean, written, nothing, found)
            if len(sites) == 1:
                self._reconstruction(seen[sites[0]], found)

    def _logits(self, spliced: SplicedModel, functions: dict[str, SiteFunction]) -> Float[Tensor, "scored vocab"]:
        return logits_with(spliced.model, self.ids, functions)[self.scored]

    def _compare(
        self,
        clean: Float[Tensor, "scored vocab"],
        written: Float[Tensor, "scored vocab"],
        nothing: Float[Tensor, "scored vocab"],
        found: _Sums,
    ) -> None:
        """Add cross-entropies and KL divergences, in float64, a few scored tokens at a time."""
        following = self.following[self.scored][:, None]
        found.tokens += len(following)
        for part in torch.arange(len(following), device=following.device).split(SCORED_AT_ONCE):
            own, read, none = (torch.log_softmax(v[part].double(), dim=-1) for v in (clean, written, nothing))
            found.clean -= float(own.gather(1, following[part]).sum())
            found.spliced -= float(read.gather(1, following[part]).sum())
            found.zero -= float(none.gather(1, following[part]).sum())
            found.kl += float((own.exp() * (own - read)).sum())

    def _reconstructions(
        self, spliced: SplicedModel, sites: tuple[str, ...], seen: "dict[str, _Seen]"
    ) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
        for site in sites:

            def function(x: Tensor, site: str = site) -> Tensor:
                encoding = spliced.saes[site].encode(x)
                decoded = spliced.saes[site].decode(encoding.features, encoding.frame)
                seen[site] = _Seen(x, encoding.features, decoded)
                return torch.where(self.here[..., None], decoded.to(x.dtype), x)

            yield site, function

    def _zero(self, x: Tensor) -> Tensor:
        return torch.where(self.here[..., None], 0, x)

    def _reconstruction(self, seen: "_Seen", found: _Sums) -> None:
        own, decoded = seen.arrival[self.here].double(), seen.decoded[self.here].double()
        found.positions += len(own)
        found.active += float((seen.features[self.here] != 0).sum())
        found.missed += float(((own - decoded) ** 2).sum())
        found.square += float((own**2).sum())
        found.total = found.total + own.sum(0).cpu()


@dataclass(frozen=True)
class _Seen:
    """The activation that arrived at a site, its features and its reconstruction."""

    arrival: Float[Tensor, "row pos width"]
    features: Float[Tensor, "row pos d_sae"]
    decoded: Float[Tensor, "row pos width"]
