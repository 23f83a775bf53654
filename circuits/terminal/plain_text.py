"""Text of others at the terminal: as data, never as a command to the terminal or as markup."""

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories that are not shown or that steer what is shown: control, direction marks, half characters."""


def plain(text: str, longest: int | None = None) -> str:
    """The text with every character that would not be seen written as its escape, cut at `longest` characters.

    Give it to rich as `Text`, which has no markup.
    """
    cut = text if longest is None or len(text) <= longest else f"{text[: longest - 1]}…"
    return "".join(_escaped(c) if unicodedata.category(c) in _HIDDEN else c for c in cut)


def _escaped(character: str) -> str:
    return repr(character)[1:-1]
