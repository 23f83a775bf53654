"""Masks trained to leave few nodes open while F stays at its goal F*.

    minimise  Σ P(λ_u > 0)   subject to   F(λ) >= F*         λ: hard-concrete gates, drawn anew at every step
    gradient  ∂ Σ P(λ > 0) / ∂ log α − w · ∂F/∂λ · ∂λ/∂ log α
    weight    w = ν · exp(κ · (F* − F)),   then   ν ← ν · exp(η · (F* − F))

This is an augmented Lagrangian with an exponential penalty: the price ν of F, in nodes, rises while F is too low and
falls while F is too high, so that F is steered to F*, not above. For a number of nodes ν is steered by the expected
size instead. Adam moves the log α. They start in the order of the nodes' attributions on the mask path to the whole
set, with their sign. One step costs a forward and a backward. Secants for gates that jump cost 2.7 times as much and
made sets no smaller. Sources: Louizos et al. 2018 (gates); Cao et al. 2021, De Cao et al. 2022, Bhaskar et al. 2024
(masks learned under a constraint); Kort & Bertsekas 1972 (exponential penalty).
"""

import hashlib
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float

from attribution.masks.hard_concrete import chance_open, gates
from attribution.runs.chunk_file import Arrays
from attribution.runs.chunk_key import key_of
from attribution.runs.chunk_store import ChunkStore, KeepPart, kept_chunk
from attribution.runs.progress import Progress, progress_between
from circuits.selection.node_sets import Directions

STAGE: Final = "learned_masks"
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


@dataclass(frozen=True)
class TrainingState:
    """Everything that a step changes.

    Attributes:
        log_alpha: of every node.
        mean, square: Adam's moving means of the gradient and of its square.
        price: ν, in nodes for each unit of F.
        step: steps made.
    """

    log_alpha: Float[np.ndarray, " node"]
    mean: Float[np.ndarray, " node"]
    square: Float[np.ndarray, " node"]
    price: float
    step: int

    def arrays(self) -> Arrays:
        """As a chunk keeps it."""
        numbers = {"price": np.array([self.price]), "step": np.array([self.step])}
        return {"log_alpha": self.log_alpha, "mean": self.mean, "square": self.square, **numbers}

    @classmethod
    def of(cls, arrays: Arrays) -> "TrainingState":
        """From what a chunk kept."""
        log_alpha, mean, square = (arrays[name] for name in ("log_alpha", "mean", "square"))
        return cls(log_alpha, mean, square, float(arrays["price"][0]), int(arrays["step"][0]))


@dataclass(frozen=True)
class MaskTraining:
    """What masks are trained for.

    Attributes:
        both: sets of the nodes on the training pairs in both directions.
        warm: the attribution of each node on the mask path to the whole set, in units of F.
        goal: F*.
        nodes: the expected size that steers the price of F; None: F does.
        seed: of the gates' draws.
    """

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
            state = self.start()
            for first in range(0, steps, KEPT_EVERY):
                last = min(first + KEPT_EVERY, steps)
                told = progress_between(progress, first / steps, last / steps)
                state = TrainingState.of(keep(f"to-{last}", partial(self._kept, state, last, told)))
                progress(last / steps)
            return {"log_alpha": state.log_alpha}

        return kept_chunk(STAGE, key, compute)["log_alpha"]

    def _kept(self, state: TrainingState, last: int, progress: Progress) -> Arrays:
        return self.until(state, last, progress).arrays()

    def start(self) -> TrainingState:
        """Even steps of log α in the order of attribution; the price of F is that at which the set would end."""
        count = len(self.warm)
        best_first = np.argsort(-self.warm, kind="stable")
        log_alpha = np.empty(count)
        log_alpha[best_first] = np.linspace(FIRST_OPEN, LAST_OPEN, count)
        ranked = self.warm[best_first]
        end = self.nodes or int(np.searchsorted(np.cumsum(ranked), self.goal))
        marginal = max(ranked[min(end, count - 1)], 1e-6)
        return TrainingState(log_alpha, np.zeros(count), np.zeros(count), float(1 / marginal), 0)

    def until(self, state: TrainingState, last: int, progress: Progress) -> TrainingState:
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
        return TrainingState(log_alpha.detach().numpy(), mean, square, price, last)
