"""Find a circuit: prompt pairs -> effects of nodes -> circuit graph.

model, saes = ...
spliced = SplicedModel(model, saes)
found = discover(spliced, prompt_pairs("agreement", "train", 8, 0, model), logit_difference)
found.circuit.strongest(10)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attribution.effects import Effects
from attribution.measurement import Progress, silent
from attribution.methods import METHODS, TAKES_POINTS
from attribution.metric import Metric, logit_difference
from attribution.patch_values import PatchValue, counterfactual
from attribution.prompt_pairs import PromptPairs
from attribution.quadrature import Quadrature
from attribution.splice import ErrorMode, SplicedModel
from circuits.aggregate import build_circuit
from graphs import CircuitGraph


@dataclass(frozen=True)
class Found:
    """Effects per example, and the circuit of their means."""

    effects: Effects
    circuit: CircuitGraph


def discover(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric = logit_difference,
    *,
    method: str = "exact",
    error_mode: ErrorMode | None = None,
    patch_value: PatchValue = counterfactual,
    points: Quadrature | None = None,
    nodes: int = 50,
    progress: Progress = silent,
    inputs: Mapping[str, Any] | None = None,
) -> Found:
    """Measure every node with one method and keep the strongest.

    Args:
        spliced: the model with its SAEs.
        pairs: prompt pairs; effects are averaged over them, positions aligned by role.
        metric: what effects are measured on.
        method: a name of `METHODS`.
        error_mode: `live` where none is given, `path` for `ig-input` and `chord-ig`.
        patch_value: what nodes are set to.
        points: points of the path, for the methods that integrate.
        nodes: how many nodes the circuit keeps.
        progress: told the share of work done.
        inputs: stored with the circuit: what it was made from.
    """
    if method not in METHODS:
        raise ValueError(f"No method {method!r}. Methods: {', '.join(METHODS)}.")
    if nodes < 1:
        raise ValueError(f"A circuit needs at least 1 node; got {nodes}.")
    options: dict[str, Any] = {"patch_value": patch_value, "progress": progress}
    if error_mode is not None:
        options["error_mode"] = error_mode
    if points is not None:
        if method not in TAKES_POINTS:
            raise ValueError(f"Method {method!r} has no path; points and rule belong to {', '.join(TAKES_POINTS)}.")
        options["points"] = points
    effects = METHODS[method](spliced, pairs, metric, **options)
    return Found(effects, build_circuit(effects, pairs, spliced.model, nodes=nodes, inputs=inputs))
