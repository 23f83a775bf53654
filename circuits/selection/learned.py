"""Learned masks: gates on every node, trained to leave few of them open while F stays at the goal F*.

    minimise  Σ P(λ_u > 0)   subject to   F(λ) >= F*            λ: hard-concrete gates, drawn anew at every step
    gradient  ∂ Σ P(λ > 0) / ∂ log α − w · ∂F/∂λ · ∂λ/∂ log α           w = ν · exp(κ · (F* − F)),  ν ← ν · exp(η · (F* − F))

This is an augmented Lagrangian with an exponential penalty: the price ν of F in nodes rises while F is too low and
falls while F is too high, so that F is steered to F*, not above. Adam moves the log α. They start in the order of the
nodes' attributions on the mask path to the whole set, with their sign. F is that of the training pairs in both
directions, each in units of its own F. F* lies half-way between the target and 1, so that the target holds on other
pairs. For a number of nodes F* is 1, and ν is steered by the expected size instead.

The nodes are then ordered by their log α. The order is good near the size that was learned and means little far from it.
The size is chosen on the validation pairs, and the set is refined, as in the iterated search (`finishing.py`). One step
costs a forward and a backward. Sources: Louizos et al. 2018 (gates); Cao et al. 2021, De Cao et al. 2022, Bhaskar et al.
2024 (learned masks under a constraint); Kort & Bertsekas 1972 (exponential penalty).
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float

from attribution.effects.quadrature import midpoint
from attribution.masks.hard_concrete import chance_open, gates
from attribution.masks.masked_metric import upper_half
from attribution.runs.chunk_file import Arrays
from attribution.runs.chunk_key import key_of
from attribution.runs.chunk_store import ChunkStore, KeepPart, kept_chunk
from attribution.runs.progress import Progress, progress_between, silent
from circuits.selection.finishing import BAND, edge_of, reaches, refined, smallest, without
from circuits.selection.iterated import DROP, Round, Search
from circuits.selection.node_sets import Directions, NodeSet, NodeSets

STAGE: Final = "learned_masks"
STEPS: Final = 400
"""Steps of Adam."""
KEPT_EVERY: Final = 25
"""Steps after which the state is kept, where work is kept: a run that is killed loses at most so many."""
RATE: Final = 0.1
"""Of Adam, in units of log α."""
FIRST_OPEN, LAST_OPEN = 3.0, -2.0
"""log α at the start: of the node with the largest attribution and of that with the smallest; even steps between."""
PENALTY: Final = 10.0
"""κ: how sharply F's weight answers to F at this step."""
ASCENT: Final = 0.1
"""η: how fast the price of F follows."""
SIZE: Final = 0.1
"""What an expected size that is off by a factor e counts for, in units of F, where a number of nodes is asked for."""
POINTS: Final = 8
"""Points of the mask path to a set."""


def learn(
    training: NodeSets,
    both: Directions,
    validation: NodeSets | None,
    *,
    target: float | None = 0.8,
    most: int = 1000,
    nodes: int | None = None,
    seed: int = 0,
    steps: int = STEPS,
    refine: bool = True,
    progress: Progress = silent,
) -> Search:
    """Learn masks and take the smallest set of the nodes with the largest log α that is faithful.

    Args:
        training, both, validation, target, most, nodes, refine, progress: as in `iterate`.
        seed: of the gates' draws. The same seed gives the same set.
        steps: of Adam.

    Raises:
        ValueError: F is undefined on the pairs; fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"Learned masks take at least 1 step; got {steps}.")
    target = None if nodes is not None else target
    deciding = training if validation is None else validation
    everything = np.ones(len(training.nodes), bool)
    warm = both.shares(everything, midpoint(POINTS)).attribution
    goal = 1.0 if target is None else (1 + target) / 2
    masks = _Masks(both, warm, goal, nodes, seed)
    log_alpha = masks.learned(steps, progress_between(progress, 0.0, 0.8))
    order = np.empty(len(warm), np.int64)
    order[np.lexsort((warm, log_alpha))] = np.arange(len(warm))
    sets = nested_sets(order, nodes or 1)
    rounds: list[Round] = []
    for number, kept in enumerate(sets):
        other = None if validation is None else validation.faithfulness(kept)
        rounds.append(Round(int(kept.sum()), training.faithfulness(kept), other))
        progress(0.8 + 0.15 * (number + 1) / len(sets))
    chosen = sets[-1] if target is None else smallest(sets, order, deciding, target, most)
    slopes = np.zeros(len(order))

    def edge(kept: NodeSet) -> tuple[np.ndarray, np.ndarray]:
        path = both.shares(kept, upper_half(POINTS // 2))
        slopes[:] = path.attribution + path.outside
        return edge_of(kept, path, overshoots=training.faithfulness(kept) > 1 + BAND)

    edge(chosen)
    if refine:
        chosen = refined(chosen, edge, training, both, deciding, target)
    progress(1.0)
    return Search(
        chosen,
        tuple(rounds),
        training.faithfulness(chosen),
        None if validation is None else validation.faithfulness(chosen),
        target is None or reaches(deciding, chosen, target),
        order,
        slopes,
    )


def nested_sets(order: np.ndarray, least: int, drop: float = DROP) -> list[NodeSet]:
    """The sets of the last nodes of an order, from all of them to `least`; each lacks a share of the one before."""
    by_order = np.argsort(order, kind="stable")
    sets = [np.ones(len(order), bool)]
    while (size := int(sets[-1].sum())) > least:
        count = min(max(1, int(size * drop)), size - least)
        gone = len(order) - size
        sets.append(without(sets[-1], by_order[gone : gone + count]))
    return sets


@dataclass(frozen=True)
class _State:
    """Everything that a step changes."""

    log_alpha: Float[np.ndarray, " node"]
    mean: Float[np.ndarray, " node"]
    square: Float[np.ndarray, " node"]
    price: float
    step: int

    def arrays(self) -> Arrays:
        numbers = {"price": np.array([self.price]), "step": np.array([self.step])}
        return {"log_alpha": self.log_alpha, "mean": self.mean, "square": self.square, **numbers}

    @classmethod
    def of(cls, arrays: Arrays) -> "_State":
        log_alpha, mean, square = (arrays[name] for name in ("log_alpha", "mean", "square"))
        return cls(log_alpha, mean, square, float(arrays["price"][0]), int(arrays["step"][0]))


@dataclass(frozen=True)
class _Masks:
    """The masks' objective: `goal` is F*; with `nodes`, the price is steered by the expected size."""

    both: Directions
    warm: Float[np.ndarray, " node"]
    goal: float
    nodes: int | None
    seed: int

    def learned(self, steps: int, progress: Progress) -> Float[np.ndarray, " node"]:
        """The log α after so many steps."""

        def key(store: ChunkStore) -> str:
            rule = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
            about = {"goal": self.goal, "nodes": self.nodes, "seed": self.seed, "steps": steps}
            return key_of({"games": self.both.keys(store, what=STAGE), "rule": rule, **about})

        def compute(keep: KeepPart) -> Arrays:
            state = self._start()
            for first in range(0, steps, KEPT_EVERY):
                last = min(first + KEPT_EVERY, steps)
                told = progress_between(progress, first / steps, last / steps)
                state = _State.of(keep(f"to {last}", lambda s=state, n=last, t=told: self._until(s, n, t).arrays()))
                progress(last / steps)
            return {"log_alpha": state.log_alpha}

        return kept_chunk(STAGE, key, compute)["log_alpha"]

    def _start(self) -> _State:
        """Even steps of log α in the order of attribution; the price of F is that at which the set would end."""
        count = len(self.warm)
        best_first = np.argsort(-self.warm, kind="stable")
        log_alpha = np.empty(count)
        log_alpha[best_first] = np.linspace(FIRST_OPEN, LAST_OPEN, count)
        ranked = self.warm[best_first]
        end = self.nodes or int(np.searchsorted(np.cumsum(ranked), self.goal))
        marginal = max(ranked[min(end, count - 1)], 1e-6)
        return _State(log_alpha, np.zeros(count), np.zeros(count), float(1 / marginal), 0)

    def _until(self, state: _State, last: int, progress: Progress) -> _State:
        """The state after step `last`; every step's draws depend on the seed and the step alone."""
        log_alpha = torch.tensor(state.log_alpha, requires_grad=True)
        adam = torch.optim.Adam([log_alpha], lr=RATE, betas=(0.9, 0.99))
        moments = {"exp_avg": torch.tensor(state.mean), "exp_avg_sq": torch.tensor(state.square)}
        adam.state[log_alpha] = {"step": torch.tensor(float(state.step)), **moments}
        price = state.price
        for step in range(state.step, last):
            uniform = np.random.default_rng([self.seed, step]).uniform(1e-6, 1 - 1e-6, len(self.warm))
            gate = gates(log_alpha, torch.from_numpy(uniform))
            size = chance_open(log_alpha).sum()
            F, slopes = self.both.value_and_gradient(gate.detach().numpy())
            gap = self.goal - F if self.nodes is None else SIZE * math.log(self.nodes / float(size.detach()))
            gap = min(1.0, max(-1.0, gap))
            adam.zero_grad()
            (size - price * math.exp(PENALTY * gap) * (gate * torch.from_numpy(slopes)).sum()).backward()
            adam.step()
            price *= math.exp(ASCENT * gap)
            progress((step + 1 - state.step) / (last - state.step))
        mean, square = (adam.state[log_alpha][name].numpy() for name in moments)
        return _State(log_alpha.detach().numpy(), mean, square, price, last)
