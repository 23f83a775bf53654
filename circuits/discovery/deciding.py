"""What `auto` does within the time allowed, decided before anything is measured.

    exact patching of every node                    if it fits the budget with all other stages
    chord IG (IG without a patch prompt) of all,    otherwise; as many nodes are patched to verify it as fit in the time
    exact patching of some                          that the screening and the other stages leave

Where either alone does not help, less is done beside it: first the costliest estimate beside the effects is left out,
then all of them, and last the search drops more nodes in a round. The forecasts depend on the machine and its load. The
run records the decision, with the options that repeat it on any machine.
"""

import hashlib
import json
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from attribution.cones.forecast import Forecast, forecast
from attribution.runs.chunk_file import Arrays
from attribution.runs.chunk_key import chunk_keys
from attribution.runs.chunk_store import ChunkStore, KeepPart, kept_chunk
from attribution.runs.time_limit import LEAST
from attribution.splice.patch_values import counterfactual
from circuits.discovery.paces import Paces, measured_paces
from circuits.discovery.stage_costs import IN_FLOAT64, OWN_PATHS, StageCosts
from circuits.ranking.question import Question
from circuits.terminal.amounts import flops_in_words, time_in_words
from graphs.short_repr import short_repr

AUTO_METHOD: Final = "auto"
DECISION_STAGE: Final = "decision"
EFFECTS: Final = "effects"
"""The stage that measures the nodes' effects."""
BEFORE: Final = "before"
"""What the forecast and everything before it took."""
DEFAULT_BUDGET: Final = 600.0
"""Seconds for a whole run."""
LEAST_VERIFIED: Final = 100
FASTER_DROPS: Final = (0.3, 0.5)
"""Shares of the nodes that a round drops where the usual share takes too long."""


@dataclass(frozen=True)
class Decision:
    """What `auto` decided, and why.

    Attributes:
        method, error_mode: of the effects.
        verify: how many nodes are patched to verify an estimate; None for exact patching.
        budget: seconds allowed for everything.
        forecast: what patching every node would cost.
        seconds: expected, of each stage that costs anything.
        compare: methods whose estimates are measured beside the effects; None: all that were asked for.
        drop: share of the nodes that the search drops in a round; None: as asked for.
    """

    __repr__ = short_repr

    method: str
    verify: int | None
    error_mode: str
    budget: float
    forecast: Forecast
    seconds: dict[str, float] = field(default_factory=dict)
    compare: tuple[str, ...] | None = None
    drop: float | None = None

    @property
    def expected(self) -> float:
        """Seconds that everything is expected to take; own paths take no more than what is left, or `LEAST` seconds."""
        walked = self.seconds.get(OWN_PATHS, 0.0)
        return sum(self.seconds.values()) - max(0.0, walked - LEAST)

    @property
    def options(self) -> str:
        """The options of `find` that repeat the decision on any machine."""
        found = ["--method exact"]
        if self.verify is not None:
            found = [f"--method {self.method} --error {self.error_mode} --verify {self.verify}"]
        if self.compare is not None:
            found.append(f"--beside {','.join(self.compare) or 'none'}")
        if self.drop is not None:
            found.append(f"--drop {self.drop}")
        return " ".join(found)

    @property
    def sentence(self) -> str:
        """The decision in words, with its reason."""
        f = self.forecast
        about = "" if f.pairs_looked_at == f.pairs else "About "
        took = f"{flops_in_words(f.flops)}, about {time_in_words(f.seconds)} here"
        cost = f"{about}{f.nodes:,} nodes, counted in every pair. Patching each is {took}"
        budget, whole = f"the budget of {time_in_words(self.budget)}", time_in_words(self.expected)
        if self.verify is None:
            rest = time_in_words(self.expected - self.seconds.get(EFFECTS, 0.0))
            said = [f"{cost}, everything else about {rest}: within {budget}, so every effect will be exact."]
        else:
            said = [
                f"{cost}; with everything else that is beyond {budget}. So {self.method} estimates them and "
                f"{self.verify:,} are patched to verify it; everything takes about {whole}."
            ]
        if self.compare is not None:
            said.append(f"Beside the effects: {'estimates by ' + ', '.join(self.compare) if self.compare else 'none'}.")
        if self.drop is not None:
            said.append(f"The search drops {self.drop:.0%} of the nodes in a round.")
        if self.expected > self.budget:
            said.append("That is more than the budget, but no less can be done.")
        if self.verify is not None or len(said) > 1:
            said.append(f"The same again on any machine: {self.options}")
        return " ".join(said)

    def record(self) -> dict[str, Any]:
        """As plain data, for run.json."""
        f = self.forecast
        return {
            "method": self.method,
            "verify": self.verify,
            "beside": None if self.compare is None else list(self.compare),
            "drop": self.drop,
            "repeat_with": self.options,
            "budget_seconds": self.budget,
            "nodes": f.nodes,
            "flops": f.flops,
            "flops_per_second": f.rate,
            "in_cones": f.in_cones,
            "expected_seconds_of_exact_patching": f.seconds,
            "expected_seconds": self.expected,
            "expected_seconds_of_stages": self.seconds,
            "pairs_looked_at": f.pairs_looked_at,
        }


def decide(
    question: Question,
    budget: float = DEFAULT_BUDGET,
    verify: int | None = None,
    costs: StageCosts | None = None,
    *,
    spent: float = 0.0,
) -> Decision:
    """Exact if it fits `budget` seconds; else screened, with `verify` nodes patched, or as many as time allows.

    `costs` are those of all other stages; without them, the budget is for the effects alone. So many seconds of it are
    `spent` already. If chunks are kept, so is the decision: a run that resumes must do what it began with.
    """
    if not budget > 0:
        raise ValueError(f"A budget is a positive number of seconds; got {budget}.")
    question.room.refuse_if_too_small()
    costs = costs or StageCosts(question)

    def key(store: ChunkStore) -> str:
        rule = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
        about = {"error_mode": question.error_mode, "budget": budget, "verify": verify, "memory": question.memory}
        work = costs.work("exact", 1e4).items()
        about["others"] = {stage: own.flops for stage, own in work if stage != IN_FLOAT64}
        given = store, question.spliced, question.metric, question.patch_value
        return chunk_keys(*given, name=DECISION_STAGE, rule=rule, **about).key(
            question.pairs, range(len(question.pairs))
        )

    def compute(_keep: KeepPart) -> Arrays:
        text = json.dumps(asdict(_decided(question, budget, spent, verify, costs)))
        return {"decision": np.frombuffer(text.encode(), np.uint8)}

    found = json.loads(kept_chunk(DECISION_STAGE, key, compute)["decision"].tobytes())
    compare = found["compare"]
    found |= {"forecast": Forecast(**found["forecast"]), "compare": None if compare is None else tuple(compare)}
    return Decision(**found)


def expected_seconds(question: Question, method: str, verify: int | None, costs: StageCosts) -> dict[str, float]:
    """The seconds that each stage will take here, with effects by a given method; stages of unknown cost are left out.

    Raises:
        ValueError: clean and patch values of all nodes are equal.
    """
    options = _Options.measured(question, math.inf, 0.0, verify, costs)
    return (options.exact(costs) if method == "exact" else options.estimated(costs, method, verify or 0)).seconds


def _decided(question: Question, budget: float, spent: float, verify: int | None, costs: StageCosts) -> Decision:
    options = _Options.measured(question, budget, spent, verify, costs)
    tried = list(options.all())
    return next((one for one in tried if one.expected <= budget), tried[-1])


@dataclass(frozen=True)
class _Options:
    """What could be done in the time, and how long it would take."""

    question: Question
    budget: float
    spent: float
    verify: int | None
    costs: StageCosts
    found: Forecast
    paces: Paces

    @classmethod
    def measured(
        cls, question: Question, budget: float, spent: float, verify: int | None, costs: StageCosts
    ) -> "_Options":
        start = time.monotonic()
        found = forecast(
            question.spliced,
            question.pairs,
            question.metric,
            error_mode=question.error_mode,
            patch_value=question.patch_value,
            batch_size=question.room.pairs("exact"),
            bytes_at_once=question.room.cone_bytes,
        )
        paces = measured_paces(question)
        return cls(question, budget, spent + time.monotonic() - start, verify, costs, found, paces)

    def all(self) -> Iterator[Decision]:
        """The best first."""
        less = (self.costs, *self.costs.with_fewer_estimates())
        yield from map(self.exact, less)
        yield from map(self._screened, less)
        if self.costs.search == "iterated":
            faster = (drop for drop in FASTER_DROPS if drop > self.costs.drop)
            yield from (self._screened(replace(less[-1], drop=drop)) for drop in faster)

    def exact(self, costs: StageCosts) -> Decision:
        return self._decision("exact", None, costs, self.found.seconds)

    def estimated(self, costs: StageCosts, method: str, verify: int) -> Decision:
        estimate = self.paces.seconds(EFFECTS, costs.sweep(method, costs.points))
        return self._decision(method, verify, costs, estimate + verify / self.found.nodes * self.found.seconds)

    def _screened(self, costs: StageCosts) -> Decision:
        method = "chord-ig" if self.question.patch_value is counterfactual else "ig"
        left = self.budget - self.estimated(costs, method, 1).expected
        fitting = int(self.found.nodes * left / self.found.seconds)
        chosen = self.verify or min(max(LEAST_VERIFIED, fitting), self.found.nodes)
        return self.estimated(costs, method, chosen)

    def _decision(self, method: str, verify: int | None, costs: StageCosts, effects: float) -> Decision:
        active = self.found.nodes / self.found.pairs
        work = costs.work(method, active)
        others = {stage: self.paces.seconds(stage, own) for stage, own in work.items() if own.flops > 0}
        if verify:
            circuit = costs.circuit_nodes * self.found.pairs / self.found.nodes * self.found.seconds
            others["effects of the circuit's nodes"] = circuit
        return Decision(
            method=method,
            verify=verify,
            error_mode=self.question.error_mode,
            budget=self.budget,
            forecast=self.found,
            seconds={BEFORE: self.spent, **({EFFECTS: effects} if effects > 0 else {}), **others},
            compare=None if costs.compare == self.costs.compare else costs.compare,
            drop=None if costs.drop == self.costs.drop else costs.drop,
        )
