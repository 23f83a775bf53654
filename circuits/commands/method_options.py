"""Options of commands that exclude each other: known from the options alone, refused before anything is loaded."""

from attribution.methods.registry import LOOKS_AT_CLEAN, WALKS_ERRORS
from attribution.prompts.metrics import METRICS


def refuse_excluded(method: str, error: str | None, patch: str, metric: str) -> None:
    """A ValueError for a method (or `auto`) that cannot do what the other options ask; it says which to change.

    Each option by its name on the command line; None for `error` is the method's own mode, which always fits.
    """
    walks = method in WALKS_ERRORS
    modes = ("live", "frozen", "zero", *(("path",) if walks else ()))
    if error is not None and error not in modes:
        also = f", or --method {' or '.join(WALKS_ERRORS)}" if error == "path" else ""
        raise ValueError(f"--method {method} has no --error {error}. Give --error {', '.join(modes)}{also}.")
    if walks and patch != "counterfactual":
        raise ValueError(
            f"--method {method} walks to the patch prompt, and --patch {patch} has none. "
            "Give --method ig, or --patch counterfactual."
        )
    if method in LOOKS_AT_CLEAN and METRICS[metric].flat_at_clean:
        raise ValueError(
            f"--metric {metric} is flat at the clean run, where --method {method} looks: every effect would be 0. "
            "Give --method ig, or another --metric."
        )
