"""Options by name, turned into what methods take; wrong or incompatible ones are refused before anything is loaded."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from attribution.effects.quadrature import Quadrature
    from attribution.prompts.prompt_pairs import PromptPairs
    from attribution.splice.patch_values import PatchValue
    from attribution.splice.spliced_model import SplicedModel


DEFAULT_POINTS: Final = {"ig": 5, "ig-input": 5, "chord-ig": 10, "mask-path": 8}
"""Points of each method's path where only the rule is given."""


def refuse_unknown(option: str, chosen: str, choices: Sequence[str]) -> None:
    """A ValueError that lists the choices, unless `chosen` is one of them."""
    if chosen not in choices:
        raise ValueError(f"No {option} {chosen!r}. Choose one of: {', '.join(choices)}.")


def refuse_excluded(method: str, error: str | None, patch: str, metric: str) -> None:
    """A ValueError if the method (or `auto`) cannot do what the other options ask; it says which to change.

    All by their names on the command line. `error` None stands for the method's own mode, which always fits. A metric
    that does not exist is refused too.
    """
    from attribution.methods.registry import LIVE_ONLY, LOOKS_AT_CLEAN, WALKS_ERRORS
    from attribution.prompts.metric_names import metric_named

    measured, walks = metric_named(metric), method in WALKS_ERRORS
    modes = ("live",) if method in LIVE_ONLY else ("live", "frozen", "zero", *(("path",) if walks else ()))
    if error is not None and error not in modes:
        also = f", or --method {' or '.join(WALKS_ERRORS)}" if error == "path" else ""
        raise ValueError(f"--method {method} has no --error {error}. Give --error {', '.join(modes)}{also}.")
    if walks and patch != "counterfactual":
        raise ValueError(
            f"--method {method} walks to the patch prompt, and --patch {patch} has none. "
            "Give --method ig, or --patch counterfactual."
        )
    if method in LOOKS_AT_CLEAN and measured.flat_at_clean:
        raise ValueError(
            f"--metric {metric} is flat at the clean run, where --method {method} looks: every effect would be 0. "
            "Give --method ig, or another --metric."
        )


def patch_value(name: str, spliced: "SplicedModel", prompts: "PromptPairs", error_mode: str | None) -> "PatchValue":
    """The patch value called `name`; a mean is taken over both prompts of all pairs, without errors in `zero` mode."""
    from attribution.splice.patch_values import counterfactual, mean_over, zero

    if name == "mean":
        both = [ids for pair in prompts for ids in (pair.clean_ids, pair.patch_ids)]
        return mean_over(spliced, both, error_mode="zero" if error_mode == "zero" else "live")
    if name == "zero":
        return zero
    without = [row for row, pair in enumerate(prompts) if not pair.has_counterfactual]
    if len(without) == len(prompts):
        raise ValueError(
            "The prompts have no counterfactual to take values from, or one that equals the clean prompt. Give --patch "
            "zero or --patch mean."
        )
    if without:
        raise ValueError(
            f"Pair {', '.join(map(str, without))}: no counterfactual, or one that equals the clean prompt, where other "
            "pairs have one. All its effects would be 0. Leave it out, or give --patch zero or --patch mean."
        )
    return counterfactual


def quadrature(points: int | None, rule: str | None, method: str) -> "Quadrature | None":
    """The quadrature asked for, what is not given being the method's default; None if neither is given."""
    from attribution.effects.quadrature import RULES

    if points is None and rule is None:
        return None
    rule = rule or ("gauss_legendre" if method == "chord-ig" else "midpoint")
    refuse_unknown("rule", rule, tuple(RULES))
    return RULES[rule](DEFAULT_POINTS.get(method, 5) if points is None else points)
