"""Slow twins of what is measured one node at a time: do-runs, own paths, gates that differ. One plain forward each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from attribution.dictionaries import SAE, BatchTopK, Gated, JumpReLU, ProLU, ReLU, TopK
from attribution.effects.effects import Effects
from attribution.models.language_model import LanguageModel
from attribution.prompts.prompt_pair import PromptPair
from attribution.splice.node_keys import KINDS
from graphs import ErrorNode, FeatureNode, TokenNode
from tests.twins import method_twins as twins
from tests.worlds.tiny_models import OnlyBOS, PlainModel, World, fitting_sae

Node = FeatureNode | ErrorNode | TokenNode
Gate = tuple[str, int, int]
"""Site, position, feature."""

EVERY_KIND: dict[str, type[SAE]] = {
    "blocks.0.hook_attn_out": Gated,
    "blocks.0.hook_mlp_out": TopK,
    "blocks.0.hook_resid_post": BatchTopK,
    "blocks.1.hook_attn_out": ProLU,
    "blocks.1.hook_mlp_out": ReLU,
    "blocks.1.hook_resid_post": JumpReLU,
}


def every_kind_world(bend: Callable[[Tensor], Tensor] = torch.tanh, kind: type[SAE] | None = None) -> World:
    """The plain model with an SAE at every site, of all kinds or of one, whose gates flip."""
    model = LanguageModel(PlainModel(bend), OnlyBOS())
    seen: dict[str, Tensor] = {}
    ids = torch.randint(2, 24, (8, 6), generator=torch.Generator().manual_seed(1))

    def keeper(site: str) -> Callable[..., None]:
        def keep(x: Tensor, hook: object = None) -> None:
            seen[site] = x.flatten(0, 1)

        return keep

    with torch.no_grad():
        model.module.run_with_hooks(ids, fwd_hooks=[(site, keeper(site)) for site in EVERY_KIND])
    kinds = {site: kind or its for site, its in EVERY_KIND.items()}
    return World(model, {s: fitting_sae(k, seen[s], s, seed=n) for n, (s, k) in enumerate(kinds.items())})


def nodes_of(effects: Effects) -> list[Node]:
    """The node of each entry."""
    found: list[Node] = []
    for site, kind, pos, index in zip(effects.site, effects.kind, effects.position, effects.index, strict=True):
        name = effects.sites[site]
        makers: dict[str, Callable[[], Node]] = {
            "feature": lambda n=name, p=int(pos), i=int(index): FeatureNode(n, p, i),
            "error": lambda n=name, p=int(pos): ErrorNode(n, p),
            "token": lambda p=int(pos): TokenNode(p),
        }
        found.append(makers[KINDS[kind]]())
    return found


def of_example(effects: Effects, example: int, smallest: float = 0.0) -> Effects:
    """The entries of one example with at least that |effect|."""
    return effects.subset((effects.example == example) & (abs(effects.effect) >= smallest))


@dataclass(frozen=True)
class NodeTwin:
    """One pair in one error mode."""

    world: World
    pair: PromptPair
    mode: str

    @cached_property
    def ends(self) -> tuple[twins.Run, twins.Run]:
        return twins.ends(self.world, self.pair.clean_ids, self.pair.patch_ids, self.mode)

    @cached_property
    def clean(self) -> twins.Run:
        with torch.no_grad():
            return twins.forward(self.world, self.pair.clean_ids, self.mode, errors=self.ends[0].e)

    def metric(self, logits: Tensor) -> Tensor:
        return logits[:, self.pair.answer_id] - logits[:, self.pair.foil_id]

    def run(self, node: Node, alpha: Sequence[float] | Tensor) -> twins.Run:
        """do(u = c + α (p − c)), one row for each α; everything after u as the model computes it."""
        c, p = self.ends
        a = torch.as_tensor(alpha, dtype=torch.float64)[:, None]
        where = node.position

        def moved(old: Tensor, new: Tensor, at: tuple[int, ...]) -> Tensor:
            value = old.detach().repeat(len(a), *(1 for _ in old.shape[1:]))
            step = a[:, 0] if len(at) == 2 else a
            value[(slice(None), *at)] = old[(0, *at)] + step * (new[(0, *at)] - old[(0, *at)])
            return value

        if isinstance(node, TokenNode):
            entry = moved(c.entry, p.entry, (where,))
            return twins.forward(self.world, self.pair.clean_ids, self.mode, errors=c.e, entry=entry, rows=len(a))

        def edit(site: str, f: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
            if site != node.site:
                return f, e
            if isinstance(node, FeatureNode):
                return moved(c.f[site], p.f[site], (where, node.index)), e
            return f, moved(c.e[site], p.e[site], (where,))

        return twins.forward(self.world, self.pair.clean_ids, self.mode, errors=c.e, edit=edit, rows=len(a))

    def metrics(self, node: Node, alpha: Sequence[float] | Tensor) -> Tensor:
        with torch.no_grad():
            return self.metric(self.run(node, alpha).logits)

    def exact(self, node: Node) -> float:
        with torch.no_grad():
            return float(self.metric(self.run(node, [1.0]).logits) - self.metric(self.clean.logits))

    def downstream(self, node: Node) -> tuple[str, ...]:
        sites = tuple(self.world.spliced.sites)
        return sites if isinstance(node, TokenNode) else sites[sites.index(node.site) + 1 :]

    def gates(self, node: Node, alpha: Sequence[float] | Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Metric, and which gates are open at every site downstream that has gates (at none in `live` mode)."""
        with torch.no_grad():
            run = self.run(node, alpha)
        return self.metric(run.logits), self.open_gates(run, self.downstream(node))

    def open_gates(self, run: twins.Run, sites: Sequence[str]) -> dict[str, Tensor]:
        """[row, position, feature], False where nothing is spliced."""
        ids = self.pair.clean_ids
        first = int(ids[0] == self.world.model.bos_id)
        found: dict[str, Tensor] = {}
        for site in sites if self.mode != "live" else ():
            margin = self.world.saes[site].encode(run.x[site]).margin
            if margin is not None:
                found[site] = margin > 0
                found[site][:, :first] = False
        return found

    def flipped(self, node: Node) -> dict[Gate, bool]:
        """Gates that patching the node opens (True) or closes."""
        _, on = self.gates(node, [0.0, 1.0])
        return {(s, p, i): bool(o[1, p, i]) for s, o in on.items() for p, i in torch.nonzero(o[0] != o[1]).tolist()}

    def jumps(self, node: Node, cells: int = 512, width: float = 1e-8) -> "list[Jump]":
        """Every jump of the metric on the node's path, by finite differences over `width`."""
        edges = torch.linspace(0, 1, cells + 1, dtype=torch.float64)
        todo = [(edges[:-1], edges[1:])]
        found: list[Jump] = []
        while todo:
            left, right = todo.pop()
            (m_l, on_l), (m_r, on_r) = (self.gates(node, edge) for edge in (left, right))
            differ = torch.zeros(len(left), dtype=torch.bool)
            for s in on_l:
                differ |= (on_l[s] != on_r[s]).flatten(1).any(1)
            for n in torch.nonzero(differ)[:, 0].tolist():
                if right[n] - left[n] > width:
                    continue
                flips = {
                    (s, p, i): bool(on_r[s][n, p, i])
                    for s in on_l
                    for p, i in torch.nonzero(on_l[s][n] != on_r[s][n]).tolist()
                }
                found.append(Jump(float(left[n]), float(m_r[n] - m_l[n]), flips))
            again = differ & (right - left > width)
            if again.any():
                start, end = left[again], right[again]
                middle = (start + end) / 2
                todo.append((torch.cat([start, middle]), torch.cat([middle, end])))
        return sorted(found, key=lambda jump: jump.alpha)


@dataclass(frozen=True)
class Jump:
    """The metric jumps by `size` at α, where these gates open (True) or close."""

    alpha: float
    size: float
    flips: dict[Gate, bool]


def relus_like(world: World) -> World:
    """The same encoders as ReLU: nothing jumps."""
    return replace(
        world,
        saes={
            s: ReLU(
                W_enc=sae.W_enc,
                W_dec=sae.W_dec,
                b_dec=sae.b_dec,
                b_enc=torch.full_like(sae.W_enc[0], 0.2),
                site=s,
            )
            for s, sae in world.saes.items()
        },
    )
