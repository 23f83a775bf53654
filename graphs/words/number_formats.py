"""How numbers are written for people: signs, decimals, percentages, and a count with its noun."""


def signed_number(value: float) -> str:
    """Three significant digits with a sign: `+0.125`, `−3.40`."""
    return f"{value:+#.3g}".rstrip(".").replace("-", "−")


def two_decimals(value: float | None) -> str:
    """`0.87`; a dash where the value is undefined (None). Zero has no sign."""
    return "–" if value is None else f"{round(value, 2) + 0:.2f}".replace("-", "−")


def whole_percent(share: float | None) -> str:
    """`87%` for a share of 0.87; a dash where the share is undefined (None)."""
    return "–" if share is None else f"{share:.0%}"


def counted_noun(count: int, noun: str) -> str:
    """A count with its noun, in the plural where the count is not 1: `1 node`, `4,000 nodes`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
