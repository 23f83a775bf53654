"""Pursuits one vector and one number at a time, written from their formulas."""

from collections.abc import Sequence

Vector = Sequence[float]
TIE = 2e-6


def dot(a: Vector, b: Vector) -> float:
    return sum(p * q for p, q in zip(a, b, strict=True))


def norm(a: Vector) -> float:
    return dot(a, a) ** 0.5


def left_over(x: Vector, unit: Sequence[Vector], a: Vector) -> list[float]:
    return [x[w] - sum(a[i] * unit[i][w] for i in range(len(unit))) for w in range(len(x))]


def pursuit(
    x: Vector, directions: Sequence[Vector], rule: str, k: int, tolerance: float | None
) -> tuple[list[float], list[int]]:
    """The coefficients, and the directions chosen, in order."""
    unit = [[v / norm(d) for v in d] if norm(d) else list(d) for d in directions]
    a, chosen = [0.0] * len(unit), list[int]()
    for _ in range(k):
        r = left_over(x, unit, a)
        c = [dot(d, r) for d in unit]
        allowed = [i for i in range(len(unit)) if c[i] > 0 and (rule == "matching" or i not in chosen)]
        if not allowed or (tolerance is not None and norm(r) <= tolerance * norm(x)):
            break
        best = max(c[i] for i in allowed)
        new = min(i for i in allowed if c[i] >= best - TIE * norm(x))
        chosen.append(new)
        if rule == "matching":
            a[new] += c[new]
            continue
        slope = [c[i] if i in chosen else 0.0 for i in range(len(unit))]
        moved = [sum(slope[i] * unit[i][w] for i in range(len(unit))) for w in range(len(x))]
        length = dot(slope, slope) / dot(moved, moved)
        a = [max(0.0, a[i] + length * slope[i]) for i in range(len(unit))]
    return [a[i] / norm(d) if a[i] else 0.0 for i, d in enumerate(directions)], chosen
