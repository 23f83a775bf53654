"""What a piece of work costs: seconds, peak memory and FLOPs; and how fast matrix products are on this machine.

           seconds                                           peak memory, above what was held before the work
    CPU    CPU seconds of the process, on one thread         largest resident size of the process (Linux only)
    GPU    seconds by the clock, until the device is done    largest amount that the device has allocated

FLOPs are those of matrix products, counted by torch's FlopCounterMode, and of the decoding of active features, which it
does not count by itself. Norms, softmax and activation functions are not counted.
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
    """The cost of one piece of work.

    Attributes:
        seconds, flops: as the top of this file defines them.
        peak: peak memory in bytes; None where it cannot be read.
        scaled: the factor by which seconds and FLOPs were scaled up from what was measured.
    """

    seconds: float
    flops: float
    peak: int | None = None
    scaled: float = 1.0

    def with_flops(self, flops: float) -> "Cost":
        """The same cost with its FLOPs filled in."""
        return replace(self, flops=flops)

    def times(self, factor: float) -> "Cost":
        """The cost of `factor` times the work. Peak memory stays the same."""
        return Cost(self.seconds * factor, self.flops * factor, self.peak, self.scaled * factor)


def cost_of(work: Callable[[], T], repeats: int = 1, device: str = "cpu") -> tuple[T, Cost]:
    """What the work returns, and its cost: the median seconds, and FLOPs of 0, for `flops_of` counts them separately.

    Raises:
        ValueError: fewer than 1 repeat.
    """
    if repeats < 1:
        raise ValueError(f"Work must be measured at least once; got {repeats} repeats.")
    seconds, results = list[float](), list[T]()
    baseline = _start_of_peak(device)
    for _ in range(repeats):
        start = clock(device)
        results = [work()]
        seconds.append(clock(device) - start)
    peak = None if baseline is None else max(0, _peak(device) - baseline)
    return results[0], Cost(statistics.median(seconds), 0.0, peak)


def clock(device: str) -> float:
    """CPU seconds of this process; on a GPU seconds by the clock, once the device has finished its work."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def flops_of(work: Callable[[], object]) -> float:
    """FLOPs of one run of the work. Where matrices are small, the counter makes the run several times slower."""
    with flop_counter() as counter:
        work()
    return float(counter.get_total_flops())


def flop_counter() -> FlopCounterMode:
    """A counter of the FLOPs of everything that runs inside."""
    bag = torch.ops.aten
    mapping: dict[Any, Any] = {bag._embedding_bag_forward_only: _bag_flops, bag._embedding_bag: _bag_flops}
    counter = FlopCounterMode(display=False, custom_mapping=mapping)
    counter.mod_tracker = _WholeModel()  # pyright: ignore[reportAttributeAccessIssue]
    return counter


def matmul_rate(d_model: int, repeats: int = 9, device: str = "cpu", dtype: torch.dtype = torch.float32) -> float:
    """FLOPs per second of the product of an MLP's first layer with 1,500 positions: the median of some repeats."""
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


def machine_in_words(device: str = "cpu") -> str:
    """The kind of machine, the number of threads in use, and torch's version."""
    if device != "cpu":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    kind = platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        kind = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return f"{kind}, {os.cpu_count()} cores, {torch.get_num_threads()} thread in use, torch {torch.__version__}"


class _WholeModel:
    """Replaces the counter's module tracker, which refuses gradients with respect to leaves."""

    parents = frozenset({"Global"})

    def __enter__(self) -> "_WholeModel":
        return self

    def __exit__(self, *_: object) -> None:
        return None


def _bag_flops(weight: Any, indices: Any, *_: Any, **_options: Any) -> int:
    return 2 * indices[0] * weight[1]


def _start_of_peak(device: str) -> int | None:
    """Bytes that are held now, after free memory was given back and the recorded peak was reset."""
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
