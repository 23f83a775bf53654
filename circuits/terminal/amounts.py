"""Amounts in the notation people use: times as `90s`, `5m`, `2h`; memory as `500M`, `2G`; FLOPs as `3.1 TFLOP`."""

import re
from typing import Final

_SECONDS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES: Final = {"M": 2.0**20, "G": 2.0**30, "T": 2.0**40}


def seconds_of(text: str) -> float:
    """The seconds in `90s`, `5m` or `2h`; a bare number is seconds.

    Raises:
        ValueError: `text` is not a positive amount of time, or more than 30 years.
    """
    return _amount(text, _SECONDS, "time", "90s, 5m, 2h, or a number of seconds", 0.0, 1e9)


def bytes_of(text: str) -> int:
    """The bytes in `500M`, `2G` or `1T`, in powers of 1024; `GB` and `GiB` mean `G`.

    Raises:
        ValueError: `text` is not a positive amount of memory with a unit, or more than a million terabytes.
    """
    return int(_amount(text.removesuffix("B").removesuffix("i"), _BYTES, "memory", "500M or 2G", 1.0, 2.0**60))


def _amount(text: str, units: dict[str, float], kind: str, examples: str, least: float, most: float) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-zA-Z]?)", text.strip())
    amount = 0.0 if found is None else float(found[1]) * units.get(found[2], 0.0)
    if not (amount > 0 and least <= amount <= most):
        raise ValueError(f"{text!r} is no amount of {kind}. Write for example {examples}.")
    return amount


def time_in_words(seconds: float) -> str:
    """`40 s`, `5 min` or `3.2 h`; below one second, `1 s`."""
    if seconds < 100:
        return f"{max(1.0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:,.1f} h"


def flops_in_words(flops: float) -> str:
    """Floating-point operations with three digits and a prefix, as in `3.1 TFLOP`."""
    for prefix, size in (("P", 1e15), ("T", 1e12), ("G", 1e9)):
        if flops >= size:
            return f"{flops / size:,.3g} {prefix}FLOP"
    return f"{flops / 1e6:.3g} MFLOP"
