"""Agreement of an estimate with exact effects over verified nodes: correlations, top-k overlap, sign flips."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from graphs import Agreement


def agreement(
    scope: str,
    estimate: np.ndarray,
    exact: np.ndarray,
    flagged: int,
    *,
    threshold: float,
    top: int,
    jump_share: float | None,
) -> Agreement:
    """Agreement over the nodes of one scope. The arrays hold one entry for each verified node.

    Args:
        scope: name of the scope: `all`, a site, or an encoder kind.
        estimate, exact: effects in units of the metric.
        flagged: number of flagged nodes among them.
        threshold: an effect is large if |effect| is at least this, in units of the metric.
        top: number of strongest nodes that are compared as a set.
        jump_share: share of jumps in the attributions of chord IG, or None.
    """
    count = len(exact)
    top = min(top, count)
    large = np.abs(exact) >= threshold
    overlap = None
    if top:
        by_exact, by_estimate = (set(np.argsort(-np.abs(v), kind="stable")[:top].tolist()) for v in (exact, estimate))
        overlap = len(by_exact & by_estimate) / top
    return Agreement(
        scope=scope,
        nodes=count,
        pearson=pearson(estimate, exact),
        spearman=spearman(estimate, exact),
        top=top,
        top_overlap=overlap,
        large=int(large.sum()),
        sign_flips=int((large & (estimate * exact < 0)).sum()),
        flagged=flagged,
        jump_share=jump_share,
    )


def agreements(
    scopes: Mapping[str, np.ndarray],
    estimate: np.ndarray,
    exact: np.ndarray,
    is_flagged: np.ndarray,
    jump_shares: Mapping[str, float | None],
    *,
    threshold: float,
    top: int,
) -> tuple[Agreement, ...]:
    """One agreement for each scope that has nodes. A scope is a mask over the verified nodes."""
    return tuple(
        agreement(
            scope,
            estimate[mask],
            exact[mask],
            int(is_flagged[mask].sum()),
            threshold=threshold,
            top=top,
            jump_share=jump_shares.get(scope),
        )
        for scope, mask in scopes.items()
        if mask.any()
    )


def spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's rank correlation; None where `pearson` of the ranks is undefined."""
    return pearson(*(pd.Series(v).rank().to_numpy() for v in (a, b)))


def pearson(a: np.ndarray, b: np.ndarray) -> float | None:
    """Pearson's correlation; None where it is undefined (fewer than 2 values, or one side constant)."""
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])
