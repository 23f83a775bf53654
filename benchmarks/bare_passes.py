"""AtP against the passes that it cannot do without: two forwards, a backward, and an encode and decode at every site.

The bare passes keep every site's activation, as AtP must, and do nothing else with it. They unembed every position and
decode with whole matrix products. AtP unembeds one position of each row and decodes active features only, so it can be
faster.
"""

import statistics

import torch
from torch import Tensor

from attribution.models.hooks import SiteFunction, logits_with
from benchmarks.cases import Case
from benchmarks.cost_of_work import clock
from circuits import attribution_patching, logit_difference


def bare_passes(case: Case) -> None:
    """The clean forward pass and its backward pass, the patch forward pass, and encodes and decodes of both."""
    batch = case.pairs.batch(device=case.device)
    for ids, backward in ((batch.clean_ids, True), (batch.patch_ids, False)):
        seen: dict[str, Tensor] = {}
        entry: list[Tensor] = []

        def enter(x: Tensor, entry: list[Tensor] = entry, backward: bool = backward) -> Tensor:
            entry.append(x.detach().requires_grad_(backward))
            return entry[0]

        def keeping(site: str, seen: dict[str, Tensor] = seen) -> SiteFunction:
            return lambda x: seen.setdefault(site, x)

        functions = {site: keeping(site) for site in case.spliced.sites}
        with torch.set_grad_enabled(backward), case.spliced.model.frozen():
            logits = logits_with(case.spliced.model, ids, functions, enter=enter)
            assert logit_difference.of is not None
            metric = logit_difference.of(logits[torch.arange(len(ids)), batch.last], batch)
        if backward:
            torch.autograd.grad(metric.sum(), entry)
        with torch.no_grad():
            for site, sae in case.spliced.saes.items():
                encoding = sae.encode(seen[site])
                sae.decode(encoding.features, encoding.frame)


def atp_over_bare_passes(case: Case, repeats: int = 7) -> float:
    """The median ratio of their seconds. The two are run in turn, so that a busy machine is fair to both."""
    ratios: list[float] = []
    for _ in range(repeats):
        start = clock(case.device)
        bare_passes(case)
        middle = clock(case.device)
        attribution_patching(case.spliced, case.pairs, logit_difference)
        ratios.append((clock(case.device) - middle) / (middle - start))
    return statistics.median(ratios)
