"""Which later features read a feature: what they lose when it is ablated.

    total(g)  = Σ over places of (E(x)_g − E(x when f = 0)_g) / places where f fires
    direct(g) = the same, every site between f and g held at what it writes in the bare run

All later features at once: one bare run, one ablated run, and one in which every later site encodes what arrives and
then writes what it writes in the bare run.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from attribution.models.hooks import SiteFunction, activations_at, constant, logits_at
from attribution.runs.progress import Progress
from attribution.splice.spliced_model import SplicedModel
from attribution.splice.writing import write_site
from circuits.features.ablated_feature import ablated
from circuits.features.firing import Ids
from circuits.features.reading import ReadBatch, batch_of
from circuits.labels.label_evidence import promoted_and_suppressed
from circuits.labels.top_contexts import in_batches
from graphs.features.feature_report import ReadingFeature


def readers_of(
    spliced: SplicedModel,
    site: str,
    index: int,
    texts: Sequence[Ids],
    *,
    count: int,
    promoted: int = 3,
    batch_size: int,
    progress: Progress,
) -> tuple[ReadingFeature, ...]:
    """The `count` later features with the largest |direct| on these texts; those that do not change are left out.

    Args:
        promoted: tokens to name of each.
    """
    later = spliced.sites[spliced.sites.index(site) + 1 :]
    sums = {s: torch.zeros(3, spliced.saes[s].d_sae, dtype=torch.float64) for s in later}
    places = done = 0
    for rows in in_batches(iter(texts), batch_size, lambda ids: spliced.model.lengths.alike(len(ids))):
        places += _add(spliced, site, index, batch_of(rows, spliced), sums)
        done += len(rows)
        progress(done / len(texts))
    found = [
        (abs(direct), s, g, direct, total, whole)
        for s, own in sums.items()
        for g, (whole, direct, total) in enumerate(own.T.tolist())
        if direct or total
    ]
    return tuple(
        ReadingFeature(
            s, g, direct / places, total / places, total / whole if whole else None, _promotes(spliced, s, g, promoted)
        )
        for _, s, g, direct, total, whole in sorted(found, key=lambda one: -one[0])[:count]
    )


def _add(
    spliced: SplicedModel, site: str, index: int, batch: ReadBatch, sums: dict[str, Float[Tensor, "3 d_sae"]]
) -> int:
    """Add a batch's sums of activations, of direct and of total changes; returns the places where the feature fires."""
    bare = activations_at(spliced.model, batch.ids, [site, *sums])
    edit = ablated(spliced, site, index)
    written = write_site(spliced.saes[site], bare[site], batch.here, [edit], "live")
    kept = {s: _encoded(spliced, s, bare[s], batch) for s in sums}
    direct: dict[str, Tensor] = {}

    def holder(s: str) -> SiteFunction:
        def hold(x: Tensor) -> Tensor:
            direct[s] = _encoded(spliced, s, x, batch)
            return bare[s]

        return hold

    with torch.no_grad():
        held = {s: holder(s) for s in sums}
        logits_at(spliced.model, batch.ids, batch.last, {site: constant(written.output), **held})
    reacting = spliced.run(batch.ids, [edit], last=batch.last, read=batch.last).encoded
    for s, own in sums.items():
        total = torch.where(batch.here[..., None], reacting[s].dense(), 0)
        for row, change in enumerate((kept[s], kept[s] - direct[s], kept[s] - total)):
            own[row] += change.sum((0, 1)).double().cpu()
    return written.touched[0].values


def _encoded(spliced: SplicedModel, site: str, x: Tensor, batch: ReadBatch) -> Float[Tensor, "row pos d_sae"]:
    return torch.where(batch.here[..., None], spliced.saes[site].encode(x).features, 0)


def _promotes(spliced: SplicedModel, site: str, index: int, count: int) -> tuple[str, ...]:
    ((up, _),) = promoted_and_suppressed(spliced, site, [index], count)
    return tuple(token for token, _ in up or ())
