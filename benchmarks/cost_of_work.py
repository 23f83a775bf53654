"""What a piece of work costs: CPU seconds, peak memory, FLOPs; and what a matrix product costs on this machine.

On a CPU seconds are of the process, on one thread; memory is the largest resident size while the work was done, above
what was resident before it (Linux only). On a GPU seconds go by the clock, until the device is done, and memory is what
the work had the device hold above what it held before. FLOPs are those of matrix products, by torch's FlopCounterMode,
and of the decoding of active features, which it does not count by itself; norms, softmax and activation functions are
in neither.
"""

import ctypes
import gc
import os
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

T = TypeVar("T")


@dataclass(frozen=True)
class Cost:
    """Of one piece of work; `peak` in bytes, None where it cannot be read; `scaled` says by how much it was scaled."""

    seconds: float
    flops: float
    peak: int | None = None
    scaled: float = 1.0

    def with_flops(self, flops: float) -> "Cost":
        """The same, its FLOPs known."""
        return replace(self, flops=flops)

    def times(self, factor: float) -> "Cost":
        """Of so many times the work: memory stays."""
        return Cost(self.seconds * factor, self.flops * factor, self.peak, self.scaled * factor)


def cost_of(work: Callable[[], T], repeats: int = 1, device: str = "cpu") -> tuple[T, Cost]:
    """What the work returns, and its cost: median seconds, FLOPs 0 (`flops_of` counts them, in a run of its own)."""
    if repeats < 1:
        raise ValueError(f"Work is measured at least once; got {repeats} repeats.")
    seconds, results = list[float](), list[T]()
    baseline = _start_of_peak(device)
    for _ in range(repeats):
        start = clock(device)
        results = [work()]
        seconds.append(clock(device) - start)
    peak = None if baseline is None else max(0, _peak(device) - baseline)
    return results[0], Cost(statistics.median(seconds), 0.0, peak)


def clock(device: str) -> float:
    """Seconds of this process; on a GPU those of the wall, after all that it was given to do."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def flops_of(work: Callable[[], object]) -> float:
    """FLOPs of one run of the work; the counter slows it down several times where matrices are small."""
    with counting() as counter:
        work()
    return float(counter.get_total_flops())


def counting() -> FlopCounterMode:
    """A counter of FLOPs for the whole of what runs inside."""
    bag = torch.ops.aten
    mapping: dict[Any, Any] = {bag._embedding_bag_forward_only: _bag_flops, bag._embedding_bag: _bag_flops}
    counter = FlopCounterMode(display=False, custom_mapping=mapping)
    counter.mod_tracker = _WholeModel()  # pyright: ignore[reportAttributeAccessIssue]
    return counter


def matmul_rate(d_model: int, repeats: int = 9, device: str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """FLOPs a second of the product that an MLP's first layer is, with 1,500 positions at a time; median."""
    x, weight = (torch.randn(*shape, device=device, dtype=dtype) for shape in ((1500, d_model), (d_model, 4 * d_model)))
    flops = 2.0 * 1500 * 4 * d_model**2
    times = max(1, round((1e9 if device == "cpu" else 1e12) / flops))
    found: list[float] = []
    for _ in range(repeats):
        start = clock(device)
        for _ in range(times):
            _ = x @ weight
        found.append(flops * times / (clock(device) - start))
    return statistics.median(found)


def machine(device: str = "cpu") -> str:
    """The kind of machine, its threads in use, and torch's version."""
    if device != "cpu":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    kind = platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        kind = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return f"{kind}, {os.cpu_count()} cores, {torch.get_num_threads()} thread in use, torch {torch.__version__}"


class _WholeModel:
    """Stands in for the counter's module tracker, which refuses gradients with respect to leaves."""

    parents = frozenset({"Global"})

    def __enter__(self) -> "_WholeModel":
        return self

    def __exit__(self, *_: object) -> None:
        return None


def _bag_flops(weight: Any, indices: Any, *_: Any, **_options: Any) -> int:
    return 2 * indices[0] * weight[1]


def _start_of_peak(device: str) -> int | None:
    """Bytes held, after what is free was given back and the peak was reset."""
    gc.collect()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except (OSError, AttributeError):
        return None


def _peak(device: str) -> int:
    return _status("VmHWM") if device == "cpu" else torch.cuda.max_memory_allocated(device)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
