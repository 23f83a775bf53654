"""The largest activation that features have on a text: the unit of relative strengths.

max(f) = the largest activation of f over all spliced positions of all documents, in the bare model
"""

from collections.abc import Collection, Sequence

import torch

from attribution.runs.progress import Progress, silent
from attribution.splice.spliced_model import SplicedModel
from circuits.ablation.node_names import NodeName
from circuits.ablation.side_effect import document_batches


def largest_activations(
    spliced: SplicedModel,
    features: Collection[NodeName],
    documents: Sequence[Sequence[int]],
    *,
    batch_size: int = 16,
    progress: Progress = silent,
) -> dict[NodeName, float]:
    """The largest activation of each feature over the documents.

    Args:
        features: by name; their positions do not matter.
        documents: token ids of each.
        batch_size: documents in one forward.

    Raises:
        ValueError: no documents, or a feature that is never active in them.
    """
    if not documents:
        raise ValueError("A maximum needs text to be taken over: give documents (--text-file).")
    largest = {site: torch.zeros(sae.d_sae, dtype=torch.float64) for site, sae in spliced.saes.items()}
    sites = {node.site for node in features}
    count = 0
    for ids, last in document_batches(documents, batch_size, spliced.model.device):
        run = spliced.record(ids, last)
        for site in sites:
            found = run.sites[site].features
            largest[site].scatter_reduce_(0, found.index.cpu(), found.value.double().cpu(), "amax")
        count += len(ids)
        progress(count / len(documents))
    maxima = {node: float(largest[node.site][node.index]) for node in features}
    for node, value in maxima.items():
        if value <= 0:
            raise ValueError(
                f"{node.everywhere()} is never active in the text, so it has no maximum. Give other text, or an amount "
                "without max."
            )
    return maxima
