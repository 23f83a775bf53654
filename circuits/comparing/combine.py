"""The union and the intersection of circuits, over templates, seeds or tasks: circuits like any other.

Their nodes, edges and mean effects are those of `graphs/combined.py`. F of a union is not F of its parts: it is
measured where a model and pairs are given, and else the circuit has no certificate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from attribution.prompts.metric_names import metric_named
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, Stages, silent
from attribution.splice.patch_values import PatchValue, counterfactual, mean_over, zero
from attribution.splice.spliced_model import SplicedModel
from circuits.discovery.assemble import sorted_by_depth
from circuits.discovery.certify import CERTIFICATE_STAGES, certify
from circuits.ranking.question import Question
from graphs import CircuitGraph, ErrorNode, FeatureNode
from graphs.circuit_graph import refuse_other_than_circuit
from graphs.combined import combined, refuse_other_effects
from graphs.nodes import EVERYWHERE


def union_of(
    circuits: Sequence[CircuitGraph],
    *,
    spliced: SplicedModel | None = None,
    pairs: PromptPairs | None = None,
    splits: Mapping[str, PromptPairs] | None = None,
    progress: Progress = silent,
) -> CircuitGraph:
    """The nodes and edges that any of the circuits has, with the mean effect over those that have it.

    Args:
        circuits: found on one model with the same SAEs, metric, patch value and error mode.
        spliced, pairs: the model and pairs on which a certificate is measured; without them there is none.
        splits: pairs that judge the circuit, by name.
        progress: told the share of work done.

    Raises:
        ValueError: circuits whose effects have no mean, of other models or SAEs, or of which only some have positions.

    Examples:
        >>> both = union_of([found.circuit, found.circuit])
        >>> both.nodes[0].effect == found.circuit.nodes[0].effect, both.certificate
        (True, None)
    """
    return _combined(circuits, "union", spliced, pairs, splits, progress)


def intersection_of(
    circuits: Sequence[CircuitGraph],
    *,
    spliced: SplicedModel | None = None,
    pairs: PromptPairs | None = None,
    splits: Mapping[str, PromptPairs] | None = None,
    progress: Progress = silent,
) -> CircuitGraph:
    """The nodes and edges that all the circuits have, with their mean effect; arguments as of `union_of`.

    Raises:
        ValueError: as `union_of`, and circuits without a feature or an error in common.

    Examples:
        >>> core = intersection_of([found.circuit, found.circuit], spliced=spliced, pairs=pairs)
        >>> [(f.split, f.nodes <= 20) for f in core.certificate.faithfulness]
        [('own', True)]
    """
    return _combined(circuits, "intersection", spliced, pairs, splits, progress)


def _combined(
    circuits: Sequence[CircuitGraph],
    how: str,
    spliced: SplicedModel | None,
    pairs: PromptPairs | None,
    splits: Mapping[str, PromptPairs] | None,
    progress: Progress,
) -> CircuitGraph:
    if not circuits:
        raise ValueError(f"No circuits: there is no {how} to make.")
    refuse_other_effects(circuits)
    _refuse_other_features(circuits)
    found = sorted_by_depth(combined(circuits, every=how == "intersection", what=f"{how} of {len(circuits)} circuits"))
    if not any(isinstance(w.node, FeatureNode | ErrorNode) for w in found.nodes):
        raise ValueError(f"The circuits have no feature and no error in common: their {how} is empty.")
    made = {"how": how, "of": [_described(circuit) for circuit in circuits]}
    found = replace(
        found, measurement=replace(found.measurement, inputs={**found.measurement.inputs, "combined": made})
    )
    if spliced is None or pairs is None:
        return found
    question = _question(found, spliced, pairs)
    stages = Stages(progress, names=CERTIFICATE_STAGES)
    return replace(found, certificate=certify(found, question, splits=splits, stages=stages))


def _refuse_other_features(circuits: Sequence[CircuitGraph]) -> None:
    """A ValueError if a feature's number or a position's name does not mean the same in all the circuits."""
    for circuit in circuits:
        refuse_other_than_circuit(circuit)
    known = [hashes for c in circuits if isinstance(hashes := c.measurement.inputs.get("hashes"), Mapping)]
    if len({hashes["model"] for hashes in known if "model" in hashes}) > 1:
        raise ValueError("The circuits were found on different models: they are no one circuit. Compare them instead.")
    for site in dict.fromkeys(site for circuit in circuits for site in circuit.sites):
        if len({hashes["saes"][site] for hashes in known if site in hashes.get("saes", {})}) > 1:
            raise ValueError(
                f"The circuits have different SAEs at {site}, so that a feature's number means different things in "
                "them. Compare them instead, or find them with the same SAEs."
            )
    bare = [[p.label for p in circuit.positions] == [EVERYWHERE] for circuit in circuits]
    if any(bare) and not all(bare):
        raise ValueError(
            "Some of the circuits have positions and others have none. Find all with the same --positions, or give "
            "merge_positions(circuit) for those that have them."
        )


def _described(circuit: CircuitGraph) -> dict[str, Any]:
    """One of the circuits, for `measurement.inputs`."""
    inputs = circuit.measurement.inputs
    own: dict[str, Any] = {name: inputs[name] for name in ("task", "seed", "combined") if name in inputs}
    return own | {"examples": circuit.measurement.examples, "nodes": len(circuit.strongest())}


def _question(circuit: CircuitGraph, spliced: SplicedModel, pairs: PromptPairs) -> Question:
    """The question that the circuits answer, on these pairs."""
    measured = circuit.measurement
    metric = metric_named(measured.metric)
    mode = measured.error_mode
    if mode not in ("live", "frozen", "zero"):
        raise ValueError(f"Circuits of error mode {mode!r} are not certified; only of live, frozen and zero.")
    value: PatchValue = zero if measured.patch_value == "zero" else counterfactual
    if measured.patch_value == "mean":
        both = [ids for pair in pairs for ids in (pair.clean_ids, pair.patch_ids)]
        value = mean_over(spliced, both, error_mode="zero" if mode == "zero" else "live")
    return Question(spliced, pairs, metric, mode, value)
