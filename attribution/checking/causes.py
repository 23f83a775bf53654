"""Why an estimate is wrong at a node: the error split into parts that add up.

    AtP − exact         = curvature (AtP − S_u)  + jump (S_u − exact)
    site-path IG − exact = interaction (IG − S_u) + jump (S_u − exact)
    input-path IG − exact = jump (IG − chord IG)  + interaction (chord IG − exact)
    chord IG − exact      = interaction

S_u is the integral of the derivative along u's own path, jumps left out (`own_path.py`). Interaction: other nodes move
along with u on a joint path. In `live` mode no gate is met and S_u = exact. Source: METHODS of this project, section 5.
"""

from collections.abc import Mapping

from attribution.checking.own_path import OwnPath
from graphs import CrossedGate
from graphs.verdict import Cause

OWN_PATH_METHODS = ("attribution_patching", "integrated_gradients")
_MOST_GATES = 12


def parts_of_error(
    method: str, estimate: float, exact: float, path: OwnPath | None, chord: float | None
) -> Mapping[Cause, float] | None:
    """The parts of one node's error; None for methods without such a split.

    Args:
        method: name of the method in the effects.
        estimate, exact: the node's two effects.
        path: its own path; None where no gate is met.
        chord: its chord IG attribution; None where no gate is met.
    """
    if method in OWN_PATH_METHODS:
        first: Cause = "curvature" if method == "attribution_patching" else "interaction"
        smooth, jump = (exact, 0.0) if path is None else (path.smooth, path.jump)
        return {first: estimate - smooth, "jump": -jump}
    if method == "input_path_integrated_gradients":
        jump = 0.0 if chord is None else estimate - chord
        return {"jump": jump, "interaction": estimate - exact if chord is None else chord - exact}
    if method == "chord_integrated_gradients":
        return {"interaction": estimate - exact}
    return None


def crossed_gates(path: OwnPath) -> tuple[CrossedGate, ...]:
    """The gates that flip on a node's path, those at its largest jumps first, at most 12."""
    jumps = sorted(path.jumps, key=lambda jump: -abs(jump.size))
    gates = [
        CrossedGate(flip.site, flip.position, flip.index, flip.opened, jump.alpha, jump.size)
        for jump in jumps
        for flip in jump.flips
    ]
    return tuple(gates[:_MOST_GATES])
