"""Amounts as people write them: `90s`, `5m`, `2h`; `500M`, `2G`."""

import re
from typing import Final

_SECONDS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES: Final = {"M": 2.0**20, "G": 2.0**30, "T": 2.0**40}


def seconds_of(text: str) -> float:
    """Seconds: a number with s, m or h; a plain number is seconds."""
    return _amount(text, _SECONDS, "--budget", "90s, 5m, 2h, or a number of seconds")


def bytes_of(text: str) -> int:
    """Bytes: a number with M, G or T (powers of 1024)."""
    return int(_amount(text.removesuffix("B").removesuffix("i"), _BYTES, "--memory", "500M or 2G"))


def _amount(text: str, units: dict[str, float], option: str, examples: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]?)", text.strip())
    amount = 0.0 if found is None else float(found[1]) * units.get(found[2], 0.0)
    if amount <= 0:
        raise ValueError(f"{option} {text!r} is no amount. Write for example {examples}.")
    return amount


def time_in_words(seconds: float) -> str:
    """As in `40 s`, `5 min`, `3.2 h`; at least 1 s."""
    if seconds < 100:
        return f"{max(1.0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


def flops_in_words(flops: float) -> str:
    """As in `3.1 TFLOP`."""
    for prefix, size in (("P", 1e15), ("T", 1e12), ("G", 1e9)):
        if flops >= size:
            return f"{flops / size:,.3g} {prefix}FLOP"
    return f"{flops / 1e6:.3g} MFLOP"
