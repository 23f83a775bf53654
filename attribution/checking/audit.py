"""An upper bound on the number of unverified nodes with a large effect, from a random audit.

Of `population` nodes `audited` are drawn at random without replacement and `found` of them are large. The upper
Clopper-Pearson limit on the number K of large nodes in the population, at a stated confidence, is

    max K with P(X <= found | K) > 1 − confidence,      X ~ Hypergeometric(population, K, audited)

Its coverage is at least the stated confidence, whatever K is. Source: Clopper & Pearson 1934, in its finite-population
form [Buonaccorsi 1987].
"""

import math

import numpy as np


def most_large(population: int, audited: int, found: int, confidence: float = 0.95) -> int:
    """Upper limit on the number of large nodes in the whole population, those found included.

    Raises:
        ValueError: the numbers contradict each other, or the confidence does not lie between 0 and 1.
    """
    if not 0 <= found <= audited <= population:
        raise ValueError(f"An audit of {audited} of {population} nodes cannot find {found}.")
    if not 0 < confidence < 1:
        raise ValueError(f"The confidence must lie between 0 and 1; got {confidence}.")
    low, high = found, population - (audited - found)
    while low < high:
        middle = (low + high + 1) // 2
        if _chance_of_at_most(found, population, middle, audited) > 1 - confidence:
            low = middle
        else:
            high = middle - 1
    return low


def _chance_of_at_most(found: int, population: int, large: int, audited: int) -> float:
    """P(X <= found) for X ~ Hypergeometric(population, large, audited)."""
    least = max(0, audited - (population - large))
    values = range(least, found + 1)
    logs = [
        _log_choose(large, x) + _log_choose(population - large, audited - x) - _log_choose(population, audited)
        for x in values
        if x <= large
    ]
    return float(np.exp(np.logaddexp.reduce(logs))) if logs else 0.0


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
