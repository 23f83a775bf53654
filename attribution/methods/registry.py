"""The registry of methods by name. A new method needs its own file, a line in `METHODS` and its name in the options.

`METHOD_NAMES` in `circuits/commands/shared/options.py` repeats the names for the command line, which must not import
torch; a test compares the two.
"""

from collections.abc import Callable
from typing import Any, Final

from attribution.chord.chord_integrated_gradients import chord_integrated_gradients
from attribution.effects.effects import Effects
from attribution.effects.quadrature import Quadrature
from attribution.methods.activation_difference import activation_difference
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.attribution_patching_star import attribution_patching_star
from attribution.methods.exact_patching import exact_patching
from attribution.methods.input_path_integrated_gradients import input_path_integrated_gradients
from attribution.methods.integrated_gradients import integrated_gradients
from attribution.methods.mask_path import mask_path
from attribution.splice.recording import ErrorMode, path_mode

METHODS: Final[dict[str, Callable[..., Effects]]] = {
    "exact": exact_patching,
    "atp": attribution_patching,
    "atp-star": attribution_patching_star,
    "ig": integrated_gradients,
    "ig-input": input_path_integrated_gradients,
    "chord-ig": chord_integrated_gradients,
    "mask-path": mask_path,
    "activation-difference": activation_difference,
}
"""All share one signature: (spliced, pairs, metric, *, error_mode, patch_value, batch_size, progress)."""

TAKES_POINTS: Final = ("ig", "ig-input", "chord-ig", "mask-path")
"""The methods that integrate along a path; they also take `points`, a quadrature."""

WALKS_ERRORS: Final = ("ig-input", "chord-ig")
"""The methods whose paths move the errors too; compared with exact patching in `frozen` mode, they use `path` mode."""

LIVE_ONLY: Final = ("mask-path",)
"""The methods whose runs compute every SAE error anew: they have no other error mode."""

LOOKS_AT_CLEAN: Final = ("atp", "atp-star")
"""The methods that take gradients at the clean run only, and are blind if the metric is flat there."""


def options_of(method: str, error_mode: ErrorMode | None, points: Quadrature | None) -> dict[str, Any]:
    """Arguments of a method that is compared with exact patching in `error_mode`; None keeps the method's default."""
    options: dict[str, Any] = {}
    if error_mode is not None:
        options["error_mode"] = path_mode(error_mode) if method in WALKS_ERRORS else error_mode
    if points is not None:
        refuse_points(method)
        options["points"] = points
    return options


def refuse_points(method: str) -> None:
    """Refuse points for a method without a path.

    Raises:
        ValueError: the method integrates along no path.
    """
    if method not in TAKES_POINTS:
        raise ValueError(f"{method} has no path; points and rule belong to {', '.join(TAKES_POINTS)}.")
