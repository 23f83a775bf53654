"""The QK fix: the effect of a write through attention probabilities, exact in the softmax.

A node's write at position t changes the queries and keys of an attention layer there to first order, and with them
the attention logits z (Jacobian of norm, projection, rotary, scale and, where there is one, soft cap). With
probabilities p = softmax(z), slopes g = ∂m/∂p and d the change of z by the key, or by the query, alone:

    key t, in every row    [σ(o + d) − σ(o) − σ'(o) d] · (g_t − ḡ)               o = z_t − log Σ_{s≠t} exp z_s
    query t, in row t      Σ_s [softmax(z + d) − p − p (d − Σ p d)]_s · g_s

o are the log-odds of key t against the other keys of the row, and ḡ is the mean slope of those keys. Each bracket is
the exact change minus its linear part; added to a first-order effect, it replaces the linear part by the exact one. As
p_t = σ(o), the first line is [p_t (e^d − 1) / (1 + p_t (e^d − 1))] (g_t − Σ_s p_s g_s) minus its linear part, in a form
that keeps its digits when attention is saturated.
Source: Kramár et al. 2024, section 3.1 (QK fix, there for the query and key nodes themselves).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor

from attribution.models.site_names import layer_of
from attribution.splice.recording import Recording
from attribution.splice.resuming import first_block_after
from attribution.splice.spliced_model import TOKENS, ErrorMode

_STREAM: Final = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post")
ADDED_TO_STREAM: Final = ("hook_attn_out", "hook_mlp_out")
"""The hooks whose activations a layer adds to the residual stream."""
_INSIDE: Final = ("hook_q", "hook_k", "hook_attn_scores", "hook_pattern")
# Some models compute the softmax in float32 even if they are in float64.
_TOLERANCE: Final = {torch.float64: 1e-6, torch.float32: 1e-4}
_TOLERANCE_LOW_PRECISION: Final = 3e-2


def relative_tolerance(dtype: torch.dtype) -> float:
    """The largest difference between two computations of one number, relative to its scale."""
    return _TOLERANCE.get(dtype, _TOLERANCE_LOW_PRECISION)


def lies_in_the_stream(site: str) -> bool:
    """Whether a site is the residual stream itself (tokens included) and not the contribution of a layer."""
    return site == TOKENS or site.endswith(_STREAM)


def layers_reached(site: str, sites: Sequence[str], error_mode: ErrorMode, n_layers: int) -> range:
    """Layers whose attention reads a write at a site directly, without other attention or an MLP in between.

    Except in `live` mode, the next spliced site of the residual stream ends the direct path. Sites inside attention or
    an MLP do not write to the residual stream and reach no layer.
    """
    if not (lies_in_the_stream(site) or site.endswith(ADDED_TO_STREAM)):
        return range(0)
    later = sites if site == TOKENS else sites[sites.index(site) + 1 :]
    ends = [first_block_after(s) for s in later if s.endswith(_STREAM)] if error_mode != "live" else []
    return range(first_block_after(site), min([*ends, n_layers]))


def hooks_of_layer(layer: int) -> tuple[str, ...]:
    """The hooks of a layer that `open_attention` and `check_added` read, if the model has them."""
    inside = (f"blocks.{layer}.attn.{name}" for name in _INSIDE)
    return (*inside, *(f"blocks.{layer}.{name}" for name in ("hook_resid_pre", *ADDED_TO_STREAM, "hook_resid_post")))


def block_input(run: Recording, seen: Mapping[str, Tensor], layer: int) -> Float[Tensor, "row pos d_model"]:
    """The residual stream into block `layer`, after any splice there."""
    if layer == 0:
        return _after_splice(run, {"blocks.0.hook_resid_pre": run.entry}, "blocks.0.hook_resid_pre")
    return _after_splice(run, seen, f"blocks.{layer}.hook_resid_pre")


def _after_splice(run: Recording, seen: Mapping[str, Tensor], name: str) -> Tensor:
    if name in run.sites:
        return run.sites[name].output
    if name not in seen:
        raise ValueError(f"{name} does not exist or does not fire, and AtP* needs it. Use the method atp.")
    return seen[name]


def check_added(run: Recording, seen: Mapping[str, Tensor], site: str) -> None:
    """Check that a write at `hook_attn_out` or `hook_mlp_out` is added to the residual stream unchanged.

    Raises:
        ValueError: it is not.
    """
    if not site.endswith(ADDED_TO_STREAM):
        return
    layer = layer_of(site)
    middle, post = (f"blocks.{layer}.{name}" for name in ("hook_resid_mid", "hook_resid_post"))
    if middle in run.sites:
        start, parts = run.sites[middle].output, ADDED_TO_STREAM[1:]
    else:
        start, parts = block_input(run, seen, layer), ADDED_TO_STREAM
    names = [name for part in parts if (name := f"blocks.{layer}.{part}") in seen]
    expected = sum((_after_splice(run, seen, name) for name in names), start)
    if (seen[post] - expected).abs().max() > 10 * relative_tolerance(expected.dtype) * expected.abs().max():
        raise ValueError(
            f"Layer {layer} does not add {site!r} to the stream unchanged, so the QK fix cannot follow a "
            "write there. Use qk_fix=False, or the method atp."
        )


@dataclass(frozen=True)
class OpenedAttention:
    """One layer's attention in the clean run.

    `pattern` is part of the run's graph. `logits` are masked, and p is their softmax; `log_odds` are those of each key
    against the others of its row. Jacobians are kept as pull-backs that are linear in dummy weights (`of_both`,
    `of_logits`), so that the gradient of a pull-back along a vector is the Jacobian times that vector: `to_stream`
    pulls (queries, keys) back to the block input, `to_queries` and `to_keys` pull the logits back to queries and keys.
    """

    layer: int
    pattern: Float[Tensor, "row head query_key"]
    logits: Float[Tensor, "row head query key"]
    log_odds: Float[Tensor, "row head query key"]
    to_stream: Float[Tensor, "row pos d_model"]
    of_both: tuple[Tensor, Tensor]
    to_queries: Tensor
    to_keys: Tensor
    of_logits: Float[Tensor, "row head query_key"]

    def by_key(self, flat: Float[Tensor, "row head query_key"]) -> Float[Tensor, "row head query key"]:
        return flat.reshape(self.logits.shape).to(self.logits.dtype)

    def slopes(self, gradient: Float[Tensor, "row head query_key"] | None) -> Float[Tensor, "row head query key"]:
        """The slopes g by query and key, from the gradient at `pattern`.

        Raises:
            ValueError: the gradient is None, because the metric does not use the pattern.
        """
        if gradient is None:
            raise ValueError(_cannot_open(self.layer, "its pattern is computed but not used"))
        return self.by_key(gradient)

    def against_others(
        self, slopes: Float[Tensor, "estimate row head query key"]
    ) -> Float[Tensor, "estimate row head query key"]:
        """g_t − ḡ: each key's slope minus the mean slope of the other keys, weighted by attention."""
        p = self.logits.softmax(-1)
        mean = ((p * slopes).sum(-1, keepdim=True) - p * slopes) / (1 - p)
        top, without = _without_top(self.logits)
        mean_without = (without.softmax(-1).nan_to_num() * slopes).sum(-1, keepdim=True)
        return slopes - torch.where(top, mean_without, mean)

    def logit_changes(
        self, write: Float[Tensor, "row pos d_model"]
    ) -> tuple[Float[Tensor, "row head query key"], Float[Tensor, "row head query key"]]:
        """First-order changes of the logits if only each position's query moves, and if only its key moves."""
        d_queries, d_keys = torch.autograd.grad(
            self.to_stream, self.of_both, write.to(self.to_stream.dtype), retain_graph=True
        )
        (by_queries,) = torch.autograd.grad(self.to_queries, self.of_logits, d_queries, retain_graph=True)
        (by_keys,) = torch.autograd.grad(self.to_keys, self.of_logits, d_keys, retain_graph=True)
        return self.by_key(by_queries), self.by_key(by_keys)

    def correction(
        self,
        write: Float[Tensor, "row pos d_model"],
        slopes: Float[Tensor, "estimate row head query key"],
        against_others: Float[Tensor, "estimate row head query key"],
    ) -> Float[Tensor, "estimate row pos"]:
        """Exact minus linear effect of the write at each row and position alone, for several estimates of g."""
        by_queries, d = self.logit_changes(write)
        odds = self.log_odds
        bend = torch.sigmoid(odds + d) - torch.sigmoid(odds) - torch.sigmoid(odds) * torch.sigmoid(-odds) * d
        of_keys = einsum(bend, against_others, "row head query key, estimate row head query key -> estimate row key")
        p, d = self.logits.softmax(-1), by_queries
        bend = (self.logits + d).softmax(-1) - p - p * (d - (p * d).sum(-1, keepdim=True))
        return of_keys + einsum(bend, slopes, "row head query key, estimate row head query key -> estimate row query")


def open_attention(run: Recording, seen: Mapping[str, Tensor], layer: int) -> OpenedAttention:
    """Open a layer's attention in a run; `seen` holds the activations at `hooks_of_layer(layer)`.

    Raises:
        ValueError: the hooks are missing, or the pattern is not the softmax of the logits (attention sinks), or the
            logits do not come from the block input through queries and keys.
    """
    names = [f"blocks.{layer}.attn.{name}" for name in _INSIDE]
    missing = [name for name in names if name not in seen]
    if missing:
        raise ValueError(_cannot_open(layer, f"{', '.join(missing)} does not exist or does not fire"))
    queries, keys, scores, pattern = (seen[name] for name in names)
    stream = block_input(run, seen, layer)
    positions = stream.shape[1]
    if not scores.shape == pattern.shape == (len(stream), scores.shape[1], positions**2):
        raise ValueError(_cannot_open(layer, "logits and pattern are not laid out as [row, head, query, key]"))
    flat = scores.detach().to(torch.promote_types(scores.dtype, torch.float32))
    logits = rearrange(flat, "row head (query key) -> row head query key", key=positions)
    gap = (logits.softmax(-1).flatten(2) - pattern.detach()).abs().max()
    if not gap <= relative_tolerance(pattern.dtype):
        raise ValueError(
            _cannot_open(layer, f"its pattern is not the softmax of its logits (they differ by {gap:.2g})")
        )
    both = (queries, keys)
    of_both = torch.zeros_like(queries, requires_grad=True), torch.zeros_like(keys, requires_grad=True)
    of_logits = torch.zeros_like(scores, requires_grad=True)
    (to_stream,) = _pulled_back(both, of_both, (stream,))
    to_queries, to_keys = _pulled_back((scores,), (of_logits,), both)
    if to_stream is None or to_queries is None or to_keys is None:
        raise ValueError(_cannot_open(layer, "its logits do not come from the block input through hook_q and hook_k"))
    return OpenedAttention(
        layer, pattern, logits, _log_odds(logits), to_stream, of_both, to_queries, to_keys, of_logits
    )


def _pulled_back(outputs: Sequence[Tensor], of: Sequence[Tensor], inputs: Sequence[Tensor]) -> list[Tensor | None]:
    return list(torch.autograd.grad(outputs, inputs, of, create_graph=True, allow_unused=True))


def _cannot_open(layer: int, reason: str) -> str:
    return (
        f"The attention of layer {layer} cannot be opened for the QK fix: {reason}. Use qk_fix=False, or the method "
        "atp."
    )


def _without_top(logits: Float[Tensor, "row head query key"]) -> tuple[Tensor, Tensor]:
    top = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, logits.argmax(-1, keepdim=True), True)
    return top, logits.masked_fill(top, -torch.inf)


def _log_odds(logits: Float[Tensor, "row head query key"]) -> Float[Tensor, "row head query key"]:
    """z_t − log Σ_{s≠t} exp z_s; for the largest key, the sum leaves it out beforehand, to keep its digits."""
    log_p = logits.log_softmax(-1)
    others = logits.logsumexp(-1, keepdim=True) + torch.log1p(-log_p.exp())
    top, without = _without_top(logits)
    return logits - torch.where(top, without.logsumexp(-1, keepdim=True), others)
