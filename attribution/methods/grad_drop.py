"""GradDrop: one clean run, differentiated repeatedly, each time with a layer dropped on the backward pass.

    forward    y = x + attention(x) + MLP(x)
    backward   ∂y/∂x = 1 while the layer is dropped

The gradient is 0 where a path through layer ℓ cancels an effect; dropping ℓ reveals the effect. One forward, whose
graph is kept, and one backward per dropped layer. Source: Kramár et al. 2024, section 3.1.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attribution.effects.measurement import Situation
from attribution.methods.query_key_fix import ADDED_TO_STREAM, block_input, hooks_of_layer, relative_tolerance
from attribution.models.hooks import SiteFunction, hooked
from attribution.models.site_names import layer_of
from attribution.splice.recording import Recording
from attribution.splice.spliced_model import TOKENS


@dataclass
class _Drop:
    """The layers that the current backward pass drops."""

    layers: frozenset[int] = frozenset()


class _Gate(torch.autograd.Function):
    """The identity; its gradient is 0 while its layer is dropped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: int, drop: _Drop) -> Tensor:
        ctx.layer, ctx.drop = layer, drop
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        return (torch.zeros_like(gradient) if ctx.layer in ctx.drop.layers else gradient), None, None


@dataclass(frozen=True)
class CleanGraph:
    """A clean run with its graph, its summed metric, and the activations `seen` at every layer's `hooks_of_layer`."""

    run: Recording
    metric: Float[Tensor, ""]
    seen: dict[str, Tensor]
    _drop: _Drop

    @classmethod
    def of(cls, situation: Situation) -> "CleanGraph":
        """Run a batch's clean prompts again, in its error mode."""
        spliced, batch = situation.spliced, situation.batch
        seen: dict[str, Tensor] = {}
        drop = _Drop()

        def watcher(name: str) -> SiteFunction:
            def function(x: Tensor) -> Tensor:
                seen[name] = _Gate.apply(x, layer_of(name), drop) if name.endswith(ADDED_TO_STREAM) else x
                return seen[name]

            return function

        known = set(spliced.model.hook_names())
        names = (n for layer in range(spliced.model.n_layers) for n in hooks_of_layer(layer) if n in known)
        # These functions act before the splice's own at the same hook: sites are recorded downstream of the gates.
        with hooked(spliced.model, {name: watcher(name) for name in names}), torch.enable_grad():
            given = batch.clean_ids, batch.last, situation.error_mode
            run = spliced.record(*given, read=batch.read, with_gradients=True)
            metric = situation.metric(run.logits, batch).sum()
        return cls(run, metric, seen, drop)

    def gradients(self, others: list[Tensor], dropped: Iterable[int]) -> tuple[dict[str, Tensor], list[Tensor | None]]:
        """Gradients of the metric at every site's output and at `TOKENS`, by site, and at other tensors.

        A tensor that the metric does not use has None among the others.
        """
        of_sites = {TOKENS: self.run.entry, **{site: record.output for site, record in self.run.sites.items()}}
        tensors = [*of_sites.values(), *others]
        self._drop.layers = frozenset(dropped)
        found: list[Tensor | None] = list(
            torch.autograd.grad(self.metric, tensors, retain_graph=True, allow_unused=True)
        )
        gradients = [torch.zeros_like(y) if g is None else g for y, g in zip(of_sites.values(), found, strict=False)]
        return dict(zip(of_sites, gradients, strict=True)), found[len(of_sites) :]

    def check_drops(self, n_layers: int, *, transparent: bool) -> None:
        """Check that a dropped block passes its gradient on unchanged.

        A layer with a splice at `hook_resid_mid` is not checked, unless splices are `transparent`.

        Raises:
            ValueError: a block adds more to the residual stream than `hook_attn_out` and `hook_mlp_out` show.
        """
        layers = [
            layer for layer in range(n_layers) if transparent or f"blocks.{layer}.hook_resid_mid" not in self.run.sites
        ]
        needed = [f"blocks.{layer}.hook_resid_post" for layer in layers]
        missing = [name for name in needed if name not in self.seen]
        if missing:
            raise ValueError(f"GradDrop needs {', '.join(missing)}. Use grad_drop=False, or the method atp.")
        inputs = [block_input(self.run, self.seen, layer) for layer in layers]
        outputs = [self.seen[name] for name in needed]
        _, gradients = self.gradients([*inputs, *outputs], range(n_layers))
        for layer, before, after in zip(layers, gradients, gradients[len(layers) :], strict=False):
            if before is None or after is None or not _equal_within_rounding(before, after):
                raise ValueError(
                    f"Layer {layer} cannot be dropped: its block adds more to the residual stream than hook_attn_out "
                    "and hook_mlp_out give. Use grad_drop=False, or the method atp."
                )


def _equal_within_rounding(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() <= 10 * relative_tolerance(a.dtype) * b.abs().max())
