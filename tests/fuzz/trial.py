"""Try a reader on files that are wrong in many ways: a sentence of ours or a value, soon, and without growing.

`JUMPWIRE_FUZZ` is the number of files for each reader, `JUMPWIRE_FUZZ_SEED` the seed; `make fuzz` sets them.
"""

import gc
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

COUNT: Final = int(os.environ.get("JUMPWIRE_FUZZ", "300"))
SEED: Final = int(os.environ.get("JUMPWIRE_FUZZ_SEED", "0"))
ROUND: Final = 500
"""Files that one run of hypothesis tries; what it remembers of them is forgotten then."""
LONGEST_SECONDS: Final = 5
LONGEST_SENTENCE: Final = 20_000
"""A name in a file may be long, and is named as it is; on the command line it is cut."""
MOST_GROWTH: Final = 64 << 20
"""Bytes by which the process may grow from the second round to the last."""
OURS: Final = tuple(
    str(Path(__file__).resolve().parents[2] / package) for package in ("graphs", "attribution", "circuits")
)


class TooLongError(Exception):
    """A file that takes longer than it may."""


@dataclass
class Report:
    """What became of the files that one reader was tried on."""

    reader: str
    tried: int = 0
    refused: int = 0
    slowest: float = 0.0
    growth: int = 0

    def __str__(self) -> str:
        accepted = self.tried - self.refused
        return (
            f"{self.reader:<28} {self.tried:>7,} files  {accepted:>7,} read  {self.refused:>7,} refused  "
            f"slowest {self.slowest:5.2f} s  memory {self.growth / 2**20:+6.1f} MiB"
        )


_QUIET: Final = settings(
    deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list[Any](HealthCheck)
)
"""Failing files are printed as they are: to make them smaller takes longer than to read them."""
REPORTS: Final[list[Report]] = []


def fuzz(reader: str, cases: SearchStrategy[Any], use: Callable[[Any], object], corpus: tuple[Any, ...] = ()) -> Report:
    """Try the reader on each of the corpus, then on `COUNT` drawn cases.

    `use` writes a case to a file, reads it, and does with the value what the project does with it.
    """
    report = Report(reader)
    REPORTS.append(report)

    def attempt(case: Any) -> None:
        report.tried += 1
        before = time.perf_counter()
        try:
            with _no_longer_than(LONGEST_SECONDS):
                use(case)
        except Exception as error:
            _refuse_foreign(error)
            report.refused += 1
        report.slowest = max(report.slowest, time.perf_counter() - before)

    for case in corpus:
        attempt(case)
    size = 0
    for number, start in enumerate(range(0, COUNT, ROUND)):
        rounds = settings(_QUIET, max_examples=min(ROUND, COUNT - start))
        seed(SEED * 1_000_003 + number)(rounds(given(cases)(attempt)))()
        gc.collect()
        if number == 1:
            size = _resident()
    report.growth = _resident() - size if size else 0
    assert report.growth < MOST_GROWTH, str(report)
    assert 0 < report.refused < report.tried, str(report)
    return report


def _refuse_foreign(error: Exception) -> None:
    """Anything but a sentence of ours for the user fails: a ValueError, LookupError or OSError, raised by our code."""
    innermost = traceback.extract_tb(error.__traceback__)[-1].filename
    ours = isinstance(error, ValueError | LookupError | OSError) and not isinstance(
        error, KeyError | IndexError | UnicodeError
    )
    if not ours or not innermost.startswith(OURS) or not 0 < len(str(error)) <= LONGEST_SENTENCE:
        raise error


@contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise TooLongError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _resident() -> int:
    """Bytes of this process in memory; 0 where the system does not say."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") if pages.is_file() else 0
