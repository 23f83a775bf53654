"""The report of what was tried, at the end of a run."""

import pytest

from tests.fuzz.trial import REPORTS, SEED
from tests.worlds.fixtures import llama, llama_world

__all__ = ["llama", "llama_world"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if REPORTS:
        terminalreporter.section(f"fuzzed files, seed {SEED}")
        for report in REPORTS:
            terminalreporter.line(str(report))
        terminalreporter.line(f"{sum(report.tried for report in REPORTS):,} files")
