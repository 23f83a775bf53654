"""Does `--memory` hold? The peak of resident memory of every stage of `find`, above the loaded model.

    python -m benchmarks.memory_of_stages [--memory 300M] [--tokens 64] [--budget 60]

A GPT-2 of the small model's shape with random weights, 12 SAEs of 4,096 features at resid_post, one pair of random
tokens, live errors. Memory is read every few milliseconds. Also the seconds of every stage, as they were and as they
were foretold when it began, and of the whole.
"""

import argparse
import gc
import threading
import time
from dataclasses import replace
from pathlib import Path

from attribution import counterfactual, logit_difference
from attribution.runs.memory import give_back_freed_memory
from benchmarks.cases import GPT2_SMALL, random_case
from circuits import Selection, discover
from circuits.selection.watch import SearchCost, Unwatched
from circuits.terminal.amounts import bytes_of

INTERVAL = 0.005


class Resident(Unwatched):
    """Follows the process's resident memory, stage by stage."""

    def __init__(self) -> None:
        self.stage = "before"
        self.base = resident()
        self.most: dict[str, int] = {}
        self.began: list[tuple[str, float]] = []
        self.foretold: dict[str, float | None] = {}
        self.ends = threading.Event()

    def follow(self) -> None:
        while not self.ends.wait(INTERVAL):
            self.most[self.stage] = max(self.most.get(self.stage, 0), resident() - self.base)

    def enters(self, stage: str, seconds: float | None) -> None:
        self.stage, self.foretold[stage] = stage, seconds
        self.began.append((stage, time.monotonic()))

    def begins(self, cost: SearchCost) -> None:
        print(cost.sentence)


def resident() -> int:
    """Bytes of the process in memory."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", type=bytes_of, default="300M")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--budget", type=float, default=60.0)
    given = parser.parse_args()
    case = random_case(replace(GPT2_SMALL, d_sae=4_096, prompts=1, tokens=given.tokens))
    gc.collect()
    give_back_freed_memory()
    seen = Resident()
    follower = threading.Thread(target=seen.follow, daemon=True)
    follower.start()
    start = time.monotonic()
    found = discover(
        case.spliced,
        case.pairs,
        logit_difference,
        method="auto",
        budget=given.budget,
        memory=given.memory,
        patch_value=counterfactual,
        select=Selection(nodes=50),
        watch=seen,
    )
    end = time.monotonic()
    seen.ends.set()
    follower.join()
    ends = [*(moment for _, moment in seen.began[1:]), end]
    print(f"{found.decision.sentence if found.decision else ''}\nallowed: {given.memory / 2**20:,.0f} MiB")
    for (stage, began), ended in zip(seen.began, ends, strict=True):
        foretold = seen.foretold[stage]
        expected = "" if foretold is None else f"{foretold:8.1f} s foretold"
        print(f"{stage:32} {seen.most.get(stage, 0) / 2**20:8,.0f} MiB {ended - began:8.1f} s {expected}")
    print(f"{'whole':32} {max(seen.most.values()) / 2**20:8,.0f} MiB {end - start:8.1f} s")


if __name__ == "__main__":
    main()
