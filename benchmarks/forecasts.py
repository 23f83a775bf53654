"""Do stages take as long as `find` foretells? What each was foretold, what it took, and the whole against its budget.

    python -m benchmarks.forecasts [--cpu] [arguments of `jumpwire find`]

With --cpu every clock is that of the process's CPU time, with one thread: the load of the machine then counts for less.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from circuits.terminal.amounts import time_in_words

SHORT = 2.0
"""Seconds below which a stage is not judged."""


def main() -> None:
    arguments = sys.argv[1:]
    if "--cpu" in arguments:
        arguments.remove("--cpu")
        torch.set_num_threads(1)
        time.perf_counter = time.monotonic = time.process_time

    from circuits.commands.app import app

    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        app(["find", *arguments, "--out", f"{folder}/run"], standalone_mode=False)
        whole = time.monotonic() - start
        run = json.loads((Path(folder) / "run" / "run.json").read_text(encoding="utf-8"))
    print("\n".join([*table(run), f"whole {whole:.1f} s of {time_in_words(run['arguments']['budget'])}"]))


def table(run: dict[str, Any]) -> list[str]:
    """A row for each stage: seconds foretold when it began and taken, and their ratio where it is not short."""
    expected, rows = (
        run["expected_seconds"],
        ["| stage | foretold, s | took, s | took / foretold |", "| --- | --- | --- | --- |"],
    )
    for stage, took in run["seconds"].items():
        foretold = expected.get(stage)
        judged = foretold and max(took, foretold) >= SHORT
        told = "" if foretold is None else f"{foretold:.1f}"
        rows.append(f"| {stage} | {told} | {took:.1f} | {f'{took / foretold:.2f}' if judged else ''} |")
    return rows


if __name__ == "__main__":
    main()
