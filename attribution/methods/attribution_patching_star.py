"""Attribution patching star (AtP*): AtP that sees through saturated attention and cancelling paths.

    AtP(u)  = (p_u − c_u) · ∂m/∂u                                           at the clean run
    QK(u)   = AtP(u) + Σ_layers [exact − linear] effect of u's write through the softmax of attention
    AtP*(u) = sign QK(u) · mean over ℓ of |QK_ℓ(u)|                         QK_ℓ: as QK, with layer ℓ dropped

The QK fix (`query_key_fix.py`) applies to every layer that u's write reaches directly along the residual stream.
GradDrop (`grad_drop.py`) drops layer ℓ on the backward pass only: the gradient through what its attention and its MLP
add to the residual stream is 0. ℓ runs over all layers but u's own, whose drop would remove u itself. These are L − 1
layers for a node inside a layer, the 1/(L − 1) Σ_ℓ of the source, and L for a node of the residual stream. A node whose
effect passes no further layer thus keeps its |AtP|.

Exact, without GradDrop, if the effect passes one softmax between affine stretches. Three forwards, L + 2 backwards and,
for the QK fix, three small backwards (from logits to keys and queries to block input) in every reached layer, repeated
as often as the largest number of changed features at one position of a site. Keys and queries remain linear in the
write, so the effect of a large write, such as a token's, on their norm is not exact.
Source: Kramár et al. 2024, section 3.1 (QK fix, GradDrop), extended here from heads and neurons to features, errors and
tokens.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.effects.effects import SIGN, Effects
from attribution.effects.measurement import SOURCES, Method, Scores, Situation, measure
from attribution.effects.scoring import scores_from_gradients
from attribution.methods.grad_drop import CleanGraph
from attribution.methods.query_key_fix import (
    OpenedAttention,
    check_added,
    layers_reached,
    lies_in_the_stream,
    open_attention,
)
from attribution.models.site_names import layer_of
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.progress import Progress, silent
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.recording import FeatureChange, number_in_group
from attribution.splice.spliced_model import TOKENS, ErrorMode, SplicedModel

_MAGNITUDES: Final = (
    "sign: that of the first-order effect, positive: the metric rises when the node takes its patch value; size: mean "
    "absolute first-order effect over runs with one layer's gradient dropped"
)
_NO_SUM: Final = "none: with GradDrop effects are mean sizes, which do not add up"

_Node = tuple[str, str]
"""Site and kind of the nodes that one tensor of scores belongs to."""


def attribution_patching_star(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    *,
    error_mode: ErrorMode = "live",
    patch_value: PatchValue = counterfactual,
    batch_size: int = 16,
    progress: Progress = silent,
    qk_fix: bool = True,
    grad_drop: bool = True,
) -> Effects:
    """AtP* of every feature, error and token whose clean and patch values differ.

    With `grad_drop`, effects rank nodes: their size is a mean of absolute values, in units of the metric, and their
    sign is that of the undropped estimate (positive if it is 0). Without it, they are signed estimates as in
    `attribution_patching`, with which the other arguments are shared. The QK fix does not change nodes inside attention
    or an MLP (`hook_z`, `hook_post`), which do not write to the residual stream. `batch_size` bounds the memory: the
    slopes of all attention patterns for L + 1 estimates are held at once.

    Raises:
        ValueError: `grad_drop` with a model of one layer or one whose layers cannot be dropped, or `qk_fix` with a
            model whose attention cannot be opened (see `open_attention`).
    """
    if grad_drop and spliced.model.n_layers < 2:
        raise ValueError(
            "GradDrop averages over the layers other than a node's own, and this model has one layer. "
            "Use grad_drop=False, or the method atp."
        )
    method = Method(
        "attribution_patching_star",
        lambda situation: _score(situation, qk_fix, grad_drop),
        ("live", "frozen", "zero"),
        residual_law=_NO_SUM if grad_drop else SOURCES,
        with_gradients=True,
        sign=_MAGNITUDES if grad_drop else SIGN,
        settings={"qk_fix": qk_fix, "grad_drop": grad_drop},
    )
    return measure(
        method,
        spliced,
        pairs,
        metric,
        error_mode=error_mode,
        patch_value=patch_value,
        batch_size=batch_size,
        progress=progress,
    )


def _score(situation: Situation, qk_fix: bool, grad_drop: bool) -> Scores:
    graph, n_layers = CleanGraph.of(situation), situation.spliced.model.n_layers
    reached = _layers_reached(situation) if qk_fix else {}
    attentions = _opened_attentions(graph, reached)
    if grad_drop:
        graph.check_drops(n_layers, transparent=situation.error_mode == "live")
    estimates: list[dict[_Node, Tensor]] = []
    slopes: list[list[Tensor]] = []
    for dropped in ((), *((layer,) for layer in range(n_layers if grad_drop else 0))):
        of_sites, of_patterns = graph.gradients([a.pattern for a in attentions.values()], dropped)
        estimates.append(_by_node(scores_from_gradients(situation, of_sites)))
        slopes.append([a.slopes(g) for a, g in zip(attentions.values(), of_patterns, strict=True)])
    effects = {node: torch.stack([e[node] for e in estimates]) for node in estimates[0]}
    for done, (layer, attention) in enumerate(attentions.items()):
        sites = [site for site, layers in reached.items() if layer in layers]
        for node, correction in _corrections(situation, sites, attention, torch.stack([s[done] for s in slopes])):
            effects[node] = effects[node] + correction
        situation.progress((done + 1) / len(attentions))
    return _scores(
        situation, {node: _signed_mean_size(node[0], e) if grad_drop else e[0] for node, e in effects.items()}
    )


def _layers_reached(situation: Situation) -> dict[str, range]:
    spliced = situation.spliced
    return {
        site: layers_reached(site, spliced.sites, situation.error_mode, spliced.model.n_layers)
        for site in (TOKENS, *spliced.sites)
    }


def _opened_attentions(graph: CleanGraph, reached: Mapping[str, range]) -> dict[int, OpenedAttention]:
    for site, layers in reached.items():
        if layers:
            check_added(graph.run, graph.seen, site)
    layers = sorted({layer for of_site in reached.values() for layer in of_site})
    return {layer: open_attention(graph.run, graph.seen, layer) for layer in layers}


def _corrections(
    situation: Situation,
    sites: Sequence[str],
    attention: OpenedAttention,
    slopes: Float[Tensor, "estimate row head query key"],
) -> Iterator[tuple[_Node, Tensor]]:
    """Corrections that the QK fix in one layer adds to the estimates of all nodes at the sites that reach the layer."""
    against_others = attention.against_others(slopes)
    for site in sites:
        if site == TOKENS:
            entry = situation.changes.entry
            difference, kind = (None if entry is None else entry - situation.clean.entry.detach()), "token"
        else:
            difference, kind = situation.error_change(site), "error"
        if difference is not None:
            yield (site, kind), attention.correction(difference, slopes, against_others)
        change = situation.changes.features.get(site)
        if change is None:
            continue
        of_features = slopes.new_zeros(len(slopes), len(change.row))
        for chosen in _one_at_each_position(change):
            part = change.only(chosen)
            writes = situation.feature_writes(site, part)
            write = writes.new_zeros(situation.clean.entry.shape)
            write[part.row, part.pos] = writes
            of_features[:, chosen] = attention.correction(write, slopes, against_others)[:, part.row, part.pos]
        yield (site, "feature"), of_features


def _one_at_each_position(change: FeatureChange) -> list[Int[Tensor, " chosen"]]:
    """Parts of the changed features, each with at most one feature per row and position.

    The keys and queries of a position depend on its own write only, so a part is corrected in one pass.
    """
    if not len(change.row):
        return []
    number = number_in_group(change.row * (change.pos.max() + 1) + change.pos)
    return [torch.nonzero(number == n)[:, 0] for n in range(int(number.max()) + 1)]


def _signed_mean_size(site: str, estimates: Float[Tensor, "estimate *node"]) -> Float[Tensor, "*node"]:
    """The sign of estimate 0, which is undropped, times the mean size of the others, each with a layer dropped."""
    others = [ell for ell in range(len(estimates) - 1) if lies_in_the_stream(site) or ell != layer_of(site)]
    size = estimates[1:][others].abs().mean(0)
    return torch.where(estimates[0] < 0, -size, size)


def _by_node(scores: Scores) -> dict[_Node, Tensor]:
    by_node = {(site, "feature"): effect for site, (_, effect) in scores.features.items()}
    by_node |= {(site, "error"): effect for site, effect in scores.errors.items()}
    return by_node if scores.tokens is None else {**by_node, (TOKENS, "token"): scores.tokens}


def _scores(situation: Situation, by_node: Mapping[_Node, Tensor]) -> Scores:
    changes = situation.changes.features
    return Scores(
        features={site: (change, by_node[site, "feature"]) for site, change in changes.items()},
        errors={site: effect for (site, kind), effect in by_node.items() if kind == "error"},
        tokens=by_node.get((TOKENS, "token")),
    )
