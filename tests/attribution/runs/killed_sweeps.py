"""Run as a script: sweeps of exact patching in processes that are killed or run at the same time; prints what it saw.

Prints JSON: `chunks` of a whole sweep; `kills`; `starts`, how many chunks were begun by the killed sweeps and the one
that came after them; `reused`, how many that last one read; whether its effects and those of two sweeps at once are
`identical` and `concurrent_identical`, bit for bit, with the effects of a sweep alone.
"""

import json
import os
import random
import signal
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import attribution.cones.exact_engine as exact_module
from attribution.effects.effects import Effects
from attribution.methods.exact_patching import exact_patching
from attribution.prompts.metrics import Metric, OnLogits, logit_difference
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PairBatch, PromptPairs
from attribution.runs.chunk_store import kept_in
from attribution.splice.spliced_model import SplicedModel
from tests.worlds.tiny_models import BOS, JUMPRELU_SITES, VOCABULARY, World, bridge, saes_on

PAIRS, KILLS = 36, 10
exact_module.CHUNK_FLOPS = 0  # a pair in each


def random_pairs() -> PromptPairs:
    draw = random.Random(0)

    def pair() -> PromptPair:
        ids = [BOS, *(draw.randrange(2, VOCABULARY) for _ in range(draw.randrange(3, 7)))]
        other = [*ids[:2], 2 + (ids[2] - 1) % (VOCABULARY - 2), *ids[3:]]
        return PromptPair(tuple(ids), tuple(other), 4, 7)

    return PromptPairs(tuple(pair() for _ in range(PAIRS)))


def logged(log: Path) -> Metric:
    """The logit difference; writes a byte to a file whenever a chunk, which has one pair, is begun.

    Every start looks first, in larger batches, whether the metric of all pairs is finite; that is no chunk.
    """

    def of_clean(clean: Tensor, batch: PairBatch) -> OnLogits:
        if len(batch.example) == 1:
            with log.open("ab", buffering=0) as file:
                file.write(b"x")
        return logit_difference.bind(clean, batch)

    return Metric("logged", "logits", of_clean=of_clean, version="1")


def started(spliced: SplicedModel, pairs: PromptPairs, folder: Path, name: str) -> int:
    """A process of its own that sweeps and then saves the effects; its id."""
    if (child := os.fork()) != 0:
        return child
    with kept_in(folder / "chunks") as store:
        effects = exact_patching(spliced, pairs, logged(folder / "log"))
    reused = np.array(store.tallies["exact_patching"].reused)
    np.savez(folder / f"{name}.npz", allow_pickle=False, **arrays(effects), reused=reused)
    os._exit(0)


def arrays(effects: Effects) -> dict[str, np.ndarray]:
    named = {f.name: getattr(effects, f.name) for f in fields(effects)}
    return {name: values for name, values in named.items() if isinstance(values, np.ndarray)}


def starts(folder: Path) -> int:
    log = folder / "log"
    return log.stat().st_size if log.exists() else 0


def killed(spliced: SplicedModel, pairs: PromptPairs, folder: Path, draw: random.Random, chunk: float) -> None:
    """A sweep that is killed some chunks further on, at any moment of a chunk."""
    aim = starts(folder) + draw.randint(1, 2)
    child = started(spliced, pairs, folder, "killed")
    while starts(folder) < aim:
        time.sleep(chunk / 20)
    time.sleep(draw.uniform(0, chunk))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the sweep ended before it was killed"


def whole(spliced: SplicedModel, pairs: PromptPairs, folder: Path, *names: str) -> list[dict[str, np.ndarray]]:
    """Sweeps to the end, all at once."""
    folder.mkdir(exist_ok=True)
    for child in [started(spliced, pairs, folder, name) for name in names]:
        _, status = os.waitpid(child, 0)
        assert status == 0
    return [dict(np.load(folder / f"{name}.npz")) for name in names]


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    names = one.keys() - {"reused"}
    return one.keys() == other.keys() and all(one[n].tobytes() == other[n].tobytes() for n in names)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    model = bridge("llama")
    spliced, pairs, draw = World(model, saes_on(model, JUMPRELU_SITES)).spliced, random_pairs(), random.Random(6)
    begin = time.perf_counter()
    (alone,) = whole(spliced, pairs, folder / "alone", "alone")
    chunk = (time.perf_counter() - begin) / PAIRS
    resumed_in = folder / "resumed"
    resumed_in.mkdir()
    for _ in range(KILLS):
        killed(spliced, pairs, resumed_in, draw, chunk)
    (resumed,) = whole(spliced, pairs, resumed_in, "resumed")
    both = whole(spliced, pairs, folder / "both", "one", "other")
    report = {
        "chunks": starts(folder / "alone"),
        "kills": KILLS,
        "starts": starts(resumed_in),
        "reused": int(resumed["reused"]),
        "identical": same(alone, resumed),
        "concurrent_identical": [same(alone, found) for found in both],
        "nodes": len(alone["effect"]),
    }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
