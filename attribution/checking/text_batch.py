"""A batch of text: what its runs predict, and what SAEs reconstruct in it. Sums over tokens, for means over a corpus.

Sums are named arrays that add up over batches, and are kept as chunks (`attribution/runs`).
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity

from attribution.models.hooks import SiteFunction, logits_at, logits_with
from attribution.runs.chunk_file import Arrays
from attribution.runs.chunk_key import environment_of, key_of
from attribution.runs.chunk_store import ChunkStore, kept_chunk
from attribution.runs.progress import Progress
from attribution.splice.spliced_model import SplicedModel

Sums = dict[str, np.ndarray]
ALL_SITES: Final = "all sites"
"""The name of the splice of all sites together; that of one site alone is the site's."""
LEAST_AT_ONCE: Final = 8
NUMBERS_AT_ONCE: Final = 2**18
"""Logits whose log probabilities are held at a time in float64, but those of `LEAST_AT_ONCE` tokens at least."""


def added(parts: Iterable[Arrays]) -> Sums:
    """The sums of several batches."""
    found: Sums = {}
    for part in parts:
        for name, values in part.items():
            found[name] = np.asarray(found[name] + values) if name in found else values
    return found


def with_tokens_to_predict(texts: Iterable[Sequence[int]]) -> list[tuple[int, ...]]:
    """The texts, which must have a token to predict.

    Raises:
        ValueError: none has two tokens.
    """
    found = [tuple(ids) for ids in texts]
    if max(map(len, found), default=0) < 2:
        raise ValueError("There is no token to predict. Give texts of at least two tokens.")
    return found


def summed_over_text(
    spliced: SplicedModel,
    texts: Sequence[Sequence[int]],
    size: int,
    stage: str,
    about: Mapping[str, Any],
    measured: "Callable[[TextBatch], Sums]",
    progress: Progress,
) -> Sums:
    """The sums of all batches of `size` texts. Where chunks are kept, each batch is a chunk of the stage.

    The key of a chunk has `about`, which says what is measured, and all texts, because means over all may enter.
    """
    whole = hashlib.sha256(json.dumps(texts).encode()).hexdigest()

    def key(part: range, store: ChunkStore) -> str:
        return key_of({**environment_of(store, spliced), **about, "texts": whole, "part": [part.start, part.stop]})

    parts: list[Arrays] = []
    for part in spliced.model.lengths.cut(list(map(len, texts)), size):
        own = texts[part.start : part.stop]
        parts.append(kept_chunk(stage, partial(key, part), lambda _, own=own: measured(TextBatch.of(spliced, own))))
        progress(part.stop / len(texts))
    return added(parts)


def scored_at_once(vocabulary: int) -> int:
    """The number of predicted tokens whose losses are computed at a time."""
    return max(LEAST_AT_ONCE, NUMBERS_AT_ONCE // vocabulary)


def splices_of(sites: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Each site alone, and all together, by name."""
    return {**{site: (site,) for site in sites}, ALL_SITES: tuple(sites)}


@dataclass(frozen=True)
class TextBatch:
    """Texts padded on the right.

    Attributes:
        following: the next token at each position.
        scored: True where the next token is predicted.
        here: True at spliced positions.
    """

    spliced: SplicedModel
    ids: Int[Tensor, "row pos"]
    last: Int[Tensor, " row"]
    following: Int[Tensor, "row pos"]
    scored: Bool[Tensor, "row pos"]
    here: Bool[Tensor, "row pos"]

    @classmethod
    def of(
        cls, spliced: SplicedModel, texts: Sequence[Sequence[int]], answers: Sequence[int] | None = None
    ) -> "TextBatch":
        """A batch in which every next token is predicted; with `answers` only these, each after its text."""
        width, device = max(map(len, texts)), spliced.model.device
        ids = torch.tensor([[*t, *[0] * (width - len(t))] for t in texts], device=device)
        last = torch.tensor([len(t) - 1 for t in texts], device=device)
        following, place = torch.roll(ids, -1, dims=1), torch.arange(width, device=device)
        scored = place < last[:, None]
        if answers is not None:
            rows = torch.arange(len(texts), device=device)
            following[rows, last] = torch.tensor(answers, device=device)
            scored = place == last[:, None]
        return cls(spliced, ids, last, following, scored, spliced.spliced_positions(ids, last))

    def logits(self, functions: Mapping[str, SiteFunction]) -> Float[Tensor, "scored vocab"]:
        """The predictions of a run in which functions act at sites. Where each text has one, no other is unembedded."""
        if bool((self.scored.sum(1) == 1).all()):
            return logits_at(self.spliced.model, self.ids, self.scored.int().argmax(1), functions)
        return logits_with(self.spliced.model, self.ids, functions)[self.scored]

    def losses(self, clean: Float[Tensor, "scored vocab"], run: Float[Tensor, "scored vocab"]) -> tuple[float, float]:
        """Σ −log p(next token) of a run and Σ KL(clean ‖ run) over the predicted tokens, in nats, in float64."""
        following = self.following[self.scored][:, None]
        ce = kl = 0.0
        for part in torch.arange(len(following), device=following.device).split(scored_at_once(clean.shape[-1])):
            own, other = (torch.log_softmax(logits[part].double(), dim=-1) for logits in (clean, run))
            ce -= float(other.gather(1, following[part]).sum())
            kl += float((own.exp() * (own - other)).sum())
        return ce, kl

    def writing(self, values: Mapping[str, Tensor | float]) -> dict[str, SiteFunction]:
        """Functions that write constants at the spliced positions of their sites."""

        def function(value: Tensor | float) -> SiteFunction:
            written = torch.as_tensor(value, device=self.ids.device)
            return lambda x: torch.where(self.here[..., None], written.to(x.dtype), x)

        return {site: function(value) for site, value in values.items()}

    def reconstructing(self, sites: Sequence[str], found: Sums | None = None) -> dict[str, SiteFunction]:
        """Functions that write what the SAEs reconstruct of whatever arrives; `found` gets its sums, as `site_sums`."""
        return {site: partial(self._act, site, found, write=True) for site in sites}

    def site_sums(self) -> Sums:
        """Of each site what its SAE reconstructs in the model as it is, as `<site>:<name>`. No token is predicted.

        n: positions;  active: of each feature, where it is active;  missed: Σ|x − x̂|²;  square: Σ|x|²;  written:
        Σ|x̂|²;  along: Σ⟨x̂, x⟩;  cosine: Σ cos(x̂, x);  total: Σx
        """
        found: Sums = {}
        observing = {site: partial(self._act, site, found, write=False) for site in self.spliced.sites}
        logits_at(self.spliced.model, self.ids, self.last, observing)
        return found

    def _act(self, site: str, found: Sums | None, x: Float[Tensor, "row pos width"], *, write: bool) -> Tensor:
        sae = self.spliced.saes[site]
        encoding = sae.encode(x)
        features = encoding.features
        decoded = sae.decode(features, encoding.frame)
        if found is not None:
            sums = _sums(x[self.here].double(), features[self.here], decoded[self.here].double())
            found.update({f"{site}:{name}": value.cpu().numpy() for name, value in sums.items()})
        return torch.where(self.here[..., None], decoded.to(x.dtype), x) if write else x


def _sums(
    x: Float[Tensor, "place width"], features: Float[Tensor, "place d_sae"], decoded: Float[Tensor, "place width"]
) -> dict[str, Tensor]:
    return {
        "n": torch.tensor(len(x)),
        "active": (features != 0).sum(0),
        "missed": ((x - decoded) ** 2).sum(),
        "square": (x**2).sum(),
        "written": (decoded**2).sum(),
        "along": (x * decoded).sum(),
        "cosine": cosine_similarity(x, decoded, dim=-1).sum(),
        "total": x.sum(0),
    }
