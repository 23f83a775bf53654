"""Steer a sparsity penalty to the wanted L0.

    l1 <- l1 * (L0 / target)^rate     at each step of the first 80% of the training

For SAEs whose sparsity is set by a penalty (ReLU, Gated, ProLU). It saves a search over penalties.
"""

STEERING_RATE = 0.01
STEERED_SHARE = 0.8


def steered_penalty(l1: float, l0: float, target: float, step: int, warm_up: int, steps: int) -> float:
    """The next penalty, from the L0 just measured. It is fixed during warm-up and at the end."""
    if step < warm_up or step > STEERED_SHARE * steps:
        return l1
    ratio = min(max(l0 / target, 0.2), 5.0)
    return l1 * ratio**STEERING_RATE
