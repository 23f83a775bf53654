"""The causal test of a feature: ablate it in prompts that end where it fires, and in prompts in which it never does.

    change_v = (logit_v − logit_v without the feature) − its mean over the vocabulary,   at the last position

Where the feature never fires, the ablated run must be the bare one to the last bit. Two forwards.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from attribution.runs.progress import Progress
from attribution.splice.spliced_model import SplicedModel
from circuits.features.ablated_feature import ablated
from circuits.features.firing import Ids, Prompts
from circuits.features.reading import batch_of
from circuits.labels.promoted_tokens import is_added_to_stream, logit_weights
from circuits.labels.top_contexts import in_batches
from graphs.features.feature_report import TriggerTest


def trigger_test(
    spliced: SplicedModel,
    site: str,
    index: int,
    prompts: Prompts,
    *,
    tokens: int,
    batch_size: int,
    progress: Progress,
) -> TriggerTest | None:
    """Test a feature on prompts of `read_firings`; None if it fires in none.

    Args:
        tokens: how many of the tokens that the feature's direction promotes are expected to fall; as many of those
            that change most are listed.
    """
    if not prompts.firing:
        return None
    moved = torch.cat([at_end for at_end, _ in _changes(spliced, site, index, prompts.firing, batch_size)])
    progress(0.5)
    largest = [float(most) for _, most in _changes(spliced, site, index, prompts.silent, batch_size)]
    progress(1.0)
    promoted: Float[Tensor, " row"] | None = None
    if is_added_to_stream(site):
        weights = logit_weights(spliced.model, spliced.saes[site], site, [index])[0]
        promoted = moved[:, weights.topk(min(tokens, len(weights))).indices].mean(-1)
    mean = moved.mean(0)
    order = mean.abs().argsort(descending=True, stable=True)[:tokens].tolist()
    return TriggerTest(
        prompts=len(prompts.firing),
        promoted=None if promoted is None else float(promoted.mean()),
        fell=0 if promoted is None else int((promoted > 0).sum()),
        changed=tuple((spliced.model.token_text(t), float(mean[t])) for t in order if mean[t]),
        silent=len(prompts.silent),
        alike=prompts.alike,
        largest=max(largest) if largest else None,
    )


def _changes(
    spliced: SplicedModel, site: str, index: int, prompts: Sequence[Ids], batch_size: int
) -> Iterator[tuple[Float[Tensor, "row vocab"], Tensor]]:
    """For each batch: the changes at the last positions, and the largest |change of a logit| at any position."""
    for rows in in_batches(iter(prompts), batch_size, lambda ids: spliced.model.lengths.alike(len(ids))):
        batch = batch_of(rows, spliced)
        clean = spliced.run(batch.ids, last=batch.last).logits
        edited = spliced.run(batch.ids, [ablated(spliced, site, index)], last=batch.last).logits
        lost = torch.where(
            (torch.arange(clean.shape[1], device=clean.device) <= batch.last[:, None])[..., None], clean - edited, 0
        )
        at_end = lost[torch.arange(len(rows)), batch.last].double()
        yield at_end - at_end.mean(-1, keepdim=True), lost.abs().max()
