"""Layers as a person writes them: `3`, `2-10`, `0,4-6`."""

import re


def layers_of(text: str) -> tuple[int, ...]:
    """The layers that `3`, `2-10` or `0,4-6` name, in increasing order.

    Raises:
        ValueError: text of another form, or a range that runs backwards.
    """
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})\s*(?:-\s*(\d{1,4})\s*)?", part)
        first, last = (0, -1) if match is None else (int(match[1]), int(match[2] or match[1]))
        if first > last:
            raise ValueError(f"--layers {text}: write a layer, a range or several of them, as in 3, 2-10 or 0,4-6.")
        found.update(range(first, last + 1))
    return tuple(sorted(found))
