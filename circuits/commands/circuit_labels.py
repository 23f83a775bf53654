"""Labels of a circuit's features, for its page."""

from pathlib import Path

from attribution.effects.measurement import Progress
from attribution.splice.spliced_model import SplicedModel
from circuits.labels.corpus import Corpus
from circuits.labels.feature_labels import label
from graphs import CircuitGraph, FeatureNode, Labels


def circuit_labels(
    spliced: SplicedModel, circuit: CircuitGraph, corpus: Corpus, *, cache: str | Path | None, progress: Progress
) -> Labels | None:
    """Labels of every feature of the circuit, strongest first; None where it has no feature. `cache` is a folder."""
    nodes = [weighted.node for weighted in circuit.strongest()]
    features = [(node.site, node.index) for node in nodes if isinstance(node, FeatureNode)]
    if not features:
        return None
    return label(spliced, features, corpus, cache=cache, progress=progress)
