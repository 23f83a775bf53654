"""Display names of methods, by their name in files and by their name on the command line."""

from typing import Final

_NAMES: Final = {
    "exact_patching": "exact",
    "attribution_patching": "AtP",
    "integrated_gradients": "IG",
    "input_path_integrated_gradients": "input-path IG",
    "chord_integrated_gradients": "chord IG",
    "mask_path": "mask path",
    "attribution_patching_star": "AtP*",
    "activation_difference": "activation difference",
    "screened_then_patched": "screened, then exact",
    "atp": "AtP",
    "atp-star": "AtP*",
    "ig": "IG",
    "ig-input": "input-path IG",
    "chord-ig": "chord IG",
    "mask-path": "mask path",
    "activation-difference": "activation difference",
    "exact": "exact",
}


def method_name(method: str) -> str:
    """`AtP` for `atp` and for `attribution_patching`; an unknown method keeps its name, with spaces."""
    return _NAMES.get(method, method.replace("_", " "))


def method_order(method: str) -> tuple[int, str]:
    """Sort key that puts methods in the usual order of comparison: AtP, IG, chord IG; unknown ones last, by name."""
    known = list(_NAMES)
    return (known.index(method) if method in known else len(known)), method
