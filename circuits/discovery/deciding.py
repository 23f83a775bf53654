"""Exact or screened: `auto` decides before anything is measured.

    exact patching of every node                    if its forecast fits the time budget
    chord IG (IG without a patch prompt) of all,    otherwise; as many nodes are patched to verify it as fit in the time
    exact patching of some                          that the screening leaves

The forecast depends on the machine and its load. The run records the decision, with the options that repeat it on any
machine.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from attribution.cones.forecast import Forecast, forecast
from attribution.cones.sweep_cost import sweep_flops
from attribution.runs.chunk_file import Arrays
from attribution.runs.chunk_key import chunk_keys
from attribution.runs.chunk_store import ChunkStore, KeepPart, kept_chunk
from attribution.splice.patch_values import counterfactual
from circuits.ranking.question import Question
from circuits.terminal.amounts import flops_in_words, time_in_words

AUTO_METHOD: Final = "auto"
DECISION_STAGE: Final = "decision"
DEFAULT_BUDGET: Final = 300.0
"""Seconds for the nodes' effects; edges and certificate take further time."""
LEAST_VERIFIED: Final = 100
_POINTS: Final = {"chord-ig": 10, "ig": 5}


@dataclass(frozen=True)
class Decision:
    """What `auto` decided, and why.

    Attributes:
        method, error_mode: of the effects.
        verify: how many nodes are patched to verify an estimate; None for exact patching.
        budget: seconds allowed.
        forecast: what patching every node would cost.
        screening_seconds: the expected time of the estimate; 0 for exact patching.
    """

    method: str
    verify: int | None
    error_mode: str
    budget: float
    forecast: Forecast
    screening_seconds: float

    @property
    def options(self) -> str:
        """The options of `find` that repeat the decision on any machine."""
        if self.verify is None:
            return "--method exact"
        return f"--method {self.method} --error {self.error_mode} --verify {self.verify}"

    @property
    def sentence(self) -> str:
        """The decision in a sentence, with its reason."""
        f = self.forecast
        cost = f"{f.nodes:,} nodes. Patching each is {flops_in_words(f.flops)}, about {time_in_words(f.seconds)} here: "
        budget = f"the budget of {time_in_words(self.budget)}"
        if self.verify is None:
            return f"{cost}within {budget}, so every effect will be exact."
        return (
            f"{cost}beyond {budget}. So {self.method} estimates them (about "
            f"{time_in_words(self.screening_seconds)}) and {self.verify:,} are patched to verify it. "
            f"The same again on any machine: {self.options}"
        )

    def record(self) -> dict[str, Any]:
        """As plain data, for run.json."""
        f = self.forecast
        return {
            "method": self.method,
            "verify": self.verify,
            "repeat_with": self.options,
            "budget_seconds": self.budget,
            "nodes": f.nodes,
            "flops": f.flops,
            "flops_per_second": f.rate,
            "in_cones": f.in_cones,
            "expected_seconds": f.seconds,
            "expected_screening_seconds": self.screening_seconds,
            "pairs_looked_at": f.pairs_looked_at,
        }


def decide(question: Question, budget: float = DEFAULT_BUDGET, verify: int | None = None) -> Decision:
    """Exact if it fits `budget` seconds; else screened, with `verify` nodes patched, or as many as time allows.

    If chunks are kept, so is the decision: a run that resumes must patch the nodes that it began with.
    """
    if not budget > 0:
        raise ValueError(f"A budget is a positive number of seconds; got {budget}.")
    question.room.refuse_if_too_small()

    def key(store: ChunkStore) -> str:
        rule = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
        about = {"error_mode": question.error_mode, "budget": budget, "verify": verify, "memory": question.memory}
        given = store, question.spliced, question.metric, question.patch_value
        return chunk_keys(*given, name=DECISION_STAGE, rule=rule, **about).key(
            question.pairs, range(len(question.pairs))
        )

    def compute(_keep: KeepPart) -> Arrays:
        text = json.dumps(asdict(_decided(question, budget, verify)))
        return {"decision": np.frombuffer(text.encode(), np.uint8)}

    found = json.loads(kept_chunk(DECISION_STAGE, key, compute)["decision"].tobytes())
    return Decision(**found | {"forecast": Forecast(**found["forecast"])})


def _decided(question: Question, budget: float, verify: int | None) -> Decision:
    found = forecast(
        question.spliced,
        question.pairs,
        question.metric,
        error_mode=question.error_mode,
        patch_value=question.patch_value,
        batch_size=question.room.pairs("exact"),
        bytes_at_once=question.room.cone_bytes,
    )
    if found.seconds <= budget:
        return Decision("exact", None, question.error_mode, budget, found, 0.0)
    method = "chord-ig" if question.patch_value is counterfactual else "ig"
    screening = _sweep(question, method) / found.rate
    fitting = int(found.nodes * (budget - screening) / found.seconds)
    chosen = verify or min(max(LEAST_VERIFIED, fitting), found.nodes)
    return Decision(method, chosen, question.error_mode, budget, found, screening)


def _sweep(question: Question, method: str) -> float:
    positions = sum(len(pair.clean_ids) for pair in question.pairs)
    rows, points = len(question.pairs), _POINTS[method]
    return sweep_flops(method, question.spliced, rows, positions, question.error_mode, points)
