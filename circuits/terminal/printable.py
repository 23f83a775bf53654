"""Make text from files safe to print: a label or token must not move the cursor or look like what it is not."""

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories that are invisible or change how text is shown: control, text direction, lone surrogates, ..."""


def printable(text: str, longest: int | None = None) -> str:
    """`text`, cut to `longest` characters, with every character of a hidden category written as its escape.

    Pass the result to rich as `Text`; a plain string would be read as markup.
    """
    cut = text if longest is None or len(text) <= longest else f"{text[: longest - 1]}…"
    return "".join(_escaped(c) if unicodedata.category(c) in _HIDDEN else c for c in cut)


def printable_token(token: str, longest: int | None = None) -> str:
    """A token without the space before it; one of nothing but spaces as `␣` for each."""
    return printable(token.strip() or "␣" * len(token), longest)


def _escaped(character: str) -> str:
    return repr(character)[1:-1]
