"""Ctrl-C at any moment of a command's life ends it with one line and code 130, and never with a traceback."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from circuits.terminal.early_stop import handle_ctrl_c, stop_at_once
from circuits.terminal.exits import ctrl_c

READY = "print('ready', flush=True); "
START = f"from circuits.commands import main; {READY}main()"
MOMENTS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 3.0)
"""Seconds after the entry point is called."""


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """What a shell starts in the background is told to ignore Ctrl-C, and so is all that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(code: str, seconds: float, folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and what is on stderr of Python that says `ready`, and hears Ctrl-C some seconds later."""
    run = [sys.executable, "-c", code, *arguments]
    root = str(Path(__file__).resolve().parents[3])
    process = subprocess.Popen(
        run,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.parametrize("seconds", MOMENTS)
def test_ctrl_c_while_a_command_starts_ends_with_one_line(seconds: float, tmp_path: Path) -> None:
    code, said = interrupted(START, seconds, tmp_path, "find", "--examples", "50", "--out", "run")
    assert code == 130, said
    *_, last = said.strip().splitlines()
    assert last.startswith("Interrupted")
    assert said.count("Interrupted") == 1
    assert "Traceback" not in said
    assert "Exception ignored" not in said


@pytest.mark.parametrize("arguments", [("--help",), ("find", "--help"), ("find", "--nodes", "x")])
@pytest.mark.parametrize("seconds", [0.05, 0.15, 0.3])
def test_ctrl_c_while_options_are_read_ends_with_one_line_unless_all_is_done(
    seconds: float, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    code, said = interrupted(START, seconds, tmp_path, *arguments)
    assert code in (130, 0 if "--help" in arguments else 2)
    assert ("Interrupted" in said) == (code == 130)
    assert "Traceback" not in said


def test_ctrl_c_after_all_is_done_ends_with_one_line(tmp_path: Path) -> None:
    slow = "import atexit, time; atexit.register(time.sleep, 5); "
    code, said = interrupted(slow + START, 2.5, tmp_path, "--help")
    assert (code, said) == (130, "Interrupted. Nothing was being measured or written.\n")


def test_ctrl_c_in_an_import_that_would_swallow_it_ends_the_process(tmp_path: Path) -> None:
    (tmp_path / "swallows.py").write_text(
        "import time\nwhile True:\n  try: time.sleep(9)\n  except BaseException: pass"
    )
    code = f"import sys; sys.path.insert(0, '.'); from circuits.terminal.exits import clean_exit; {READY}\n"
    code += "with clean_exit(): import swallows"
    assert interrupted(code, 1.0, tmp_path) == (130, "Interrupted. Nothing was being measured or written.\n")


def test_a_process_that_is_told_to_ignore_ctrl_c_does() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    handle_ctrl_c(stop_at_once)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_outside_of_imports_ctrl_c_is_an_interrupt_and_the_handler_before_comes_back() -> None:
    before = signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        with ctrl_c(signal.default_int_handler):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert signal.getsignal(signal.SIGINT) is before
