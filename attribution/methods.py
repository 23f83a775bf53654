"""The methods by name. A new method is one file and one line here."""

from collections.abc import Callable
from typing import Final

from attribution.activation_difference import activation_difference
from attribution.attribution_patching import attribution_patching
from attribution.attribution_patching_star import attribution_patching_star
from attribution.chord_integrated_gradients import chord_integrated_gradients
from attribution.effects import Effects
from attribution.exact_patching import exact_patching
from attribution.input_path_integrated_gradients import input_path_integrated_gradients
from attribution.integrated_gradients import integrated_gradients

METHODS: Final[dict[str, Callable[..., Effects]]] = {
    "exact": exact_patching,
    "atp": attribution_patching,
    "atp-star": attribution_patching_star,
    "ig": integrated_gradients,
    "ig-input": input_path_integrated_gradients,
    "chord-ig": chord_integrated_gradients,
    "activation-difference": activation_difference,
}
"""All share one signature: (spliced, pairs, metric, *, error_mode, patch_value, batch_size, progress)."""

TAKES_POINTS: Final = ("ig", "ig-input", "chord-ig")
"""The methods that integrate along a path; they also take `points`, a quadrature."""
