"""Ctrl-C where no work can be lost ends the process at once: with one line and code 130, and never a traceback.

That is before a command begins, while modules are imported (imports may swallow a KeyboardInterrupt, or turn it into
another error), and after all is done. Nothing is imported here that takes time.
"""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

_LINE: Final = b"Interrupted. Nothing was being measured or written.\n"
_IMPORTS: Final = "<frozen importlib._bootstrap>"


Handler = Callable[[int, FrameType | None], object]


def handle_ctrl_c(handler: Handler) -> None:
    """From now on `handler` answers Ctrl-C, unless the process was told to ignore it, as one in the background is."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def stop_at_once(_number: int, _frame: FrameType | None) -> None:
    """End the process."""
    _stop()


def stop_in_imports(number: int, frame: FrameType | None) -> None:
    """End the process if a module is being imported; raise a KeyboardInterrupt if not."""
    at = frame
    while at is not None:
        if at.f_code.co_filename == _IMPORTS:
            _stop()
        at = at.f_back
    signal.default_int_handler(number, frame)


def _stop() -> None:
    if sys.stdout is not None and sys.stdout.isatty():
        os.write(1, b"\r\x1b[2K\x1b[?25h")  # a spinner's line goes, and the cursor that it hid comes back
    os.write(2, _LINE)
    os._exit(128 + signal.SIGINT)
