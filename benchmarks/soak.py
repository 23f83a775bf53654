"""Does a process that finds circuits for hours keep anything? Many `find`s in one process, with random options.

    python -m benchmarks.soak [--times 200] [--seed 0]

After each: resident memory, threads and open files. The first quarter warms up (imports, caches, the allocator). The
exit code is 1 if memory grows after it by more than `MOST_GROWTH` a run (the median slope between two runs, so that
single peaks do not count), or threads or files are left. Options that exclude each other are drawn too, and refused.
Runs are small, a layer or two and few pairs: what is kept is kept by small runs too, and there are many of them.
"""

import argparse
import gc
import random
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.memory_of_stages import resident
from circuits.commands.app import app

MOST_GROWTH = 256 * 1024
"""Bytes per run."""

CHOICES: dict[str, Sequence[str]] = {
    "--task": ("agreement", "closing", "indirect_object", "pronoun"),
    "--saes": ("jumprelu", "topk", "gated"),
    "--method": ("auto", "exact", "atp", "ig", "chord-ig"),
    "--error": ("live", "frozen", "zero"),
    "--patch": ("counterfactual", "zero", "mean"),
    "--metric": ("logit_difference", "log_probability", "kl_divergence"),
    "--positions": ("auto", "none", "offset"),
    "--memory": ("300M", "1G"),
    "--beside": ("none", "atp", "atp,ig"),
}
"""Options that about half of the runs give."""
SMALL: dict[str, Sequence[str]] = {
    "--layers": ("2", "3", "2-3"),
    "--examples": ("2", "3"),
    "--other-examples": ("0", "2"),
    "--resamples": ("0", "5"),
    "--explained": ("0", "1"),
}
"""Options that all runs give."""
SIZES = ("1", "8", "40")
SEARCHING, LABELLING = 0.1, 0.1
"""Shares of the runs that search for their size, and that label features: these take longest."""


@dataclass(frozen=True)
class Kept:
    """What the process holds after a run."""

    memory: int
    threads: int
    files: int

    @classmethod
    def now(cls) -> "Kept":
        gc.collect()
        return cls(resident(), threading.active_count(), len(list(Path("/proc/self/fd").iterdir())))


def drawn(draw: random.Random) -> list[str]:
    """The options of a run."""
    given = {name: own for name, own in CHOICES.items() if draw.random() < 0.5} | SMALL
    if draw.random() >= SEARCHING:
        given["--nodes"] = SIZES
    chosen = [word for name, own in given.items() for word in (name, draw.choice(own))]
    return [*chosen, *(["--no-labels"] if draw.random() >= LABELLING else [])]


def growth(values: Sequence[float]) -> float:
    """The median slope between all pairs of values (Theil-Sen)."""
    pairs = [(i, j) for i in range(len(values)) for j in range(i + 1, len(values))]
    return median((values[j] - values[i]) / (j - i) for i, j in pairs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw, after = random.Random(given.seed), list[Kept]()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(given.times):
            options = drawn(draw)
            start = time.process_time()
            code = app(["find", *options, "--out", f"{folder}/{number % 5}"], standalone_mode=False)
            if code and code > 128:  # Ctrl-C or SIGTERM
                return code
            ended = f"exit {code}" if code else "found"
            after.append(Kept.now())
            print(
                f"soak {number}: {' '.join(options)}: {ended}, {time.process_time() - start:.1f} s of CPU, "
                f"{after[-1].memory / 2**20:,.0f} MiB, {after[-1].threads} threads, {after[-1].files} files",
                file=sys.stderr,
                flush=True,
            )
    warm = after[len(after) // 4 :]
    slope = growth([one.memory for one in warm])
    threads, files = (max(getattr(one, name) for one in warm) - getattr(warm[0], name) for name in ("threads", "files"))
    print(f"soak: {slope / 1024:+,.0f} KiB a run, {threads:+d} threads, {files:+d} files", file=sys.stderr)
    return int(slope > MOST_GROWTH or threads > 0 or files > 0)


if __name__ == "__main__":
    sys.exit(main())
