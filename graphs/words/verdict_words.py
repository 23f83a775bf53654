"""A verdict in words: its grade, its key numbers and what they mean, and the words for flags, causes and gates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from graphs.nodes import ErrorNode, FeatureNode, TokenNode, node_name, short_site
from graphs.verdict import CHOSEN_BY, Cause, CrossedGate, Flag, Verdict
from graphs.words.number_formats import counted_noun, signed_number, two_decimals, whole_percent

Grade = Literal["green", "amber", "red"]
GRADE_RULE: Final = (
    "Green: no checked node is flagged. Amber: some are flagged, none for a wrong sign. Red: some have the wrong sign."
)
GRADE_WORDS: Final[Mapping[Grade, str]] = {"green": "no flags", "amber": "flags", "red": "wrong signs"}
FLAG_WORDS: Final[Mapping[Flag, str]] = {
    "sign_flip": "wrong sign",
    "missed": "missed",
    "phantom": "phantom",
    "wrong_size": "wrong size",
}
CAUSE_WORDS: Final[Mapping[Cause, str]] = {
    "jump": "gates that flip",
    "curvature": "curvature",
    "interaction": "interaction between nodes",
}
AT_THRESHOLD: Final = (
    "within rounding, in the clean runs: closed, or for TopK as many as it chooses, until a margin really moves"
)
"""What gates at their threshold are."""


@dataclass(frozen=True)
class KeyNumber:
    """One number of a verdict: its label, its value with unit, and how to read it."""

    label: str
    value: str
    reading: str


@dataclass(frozen=True)
class Jump:
    """A jump of the metric by `size` (in its units) at one α of a node's path, with all `gates` that flip there."""

    alpha: float
    size: float
    gates: tuple[CrossedGate, ...]


def grade_of(verdict: Verdict) -> Grade:
    """The colour of a verdict, by `GRADE_RULE`."""
    if not verdict.flagged:
        return "green"
    return "red" if verdict.count("sign_flip") else "amber"


def site_of(verdict: Verdict, node: FeatureNode | ErrorNode | TokenNode) -> str:
    """The site of a node; that of tokens is the verdict's first."""
    return verdict.sites[0] if isinstance(node, TokenNode) else node.site


def scope_name(verdict: Verdict, scope: str) -> str:
    """The short name of a site; the verdict's first site is called `tokens`."""
    return "tokens" if scope == verdict.sites[0] else short_site(scope)


def gate_name(gate: CrossedGate) -> str:
    """The name of the gate's feature, as a node."""
    return node_name(gate.feature)


def jumps_of(gates: tuple[CrossedGate, ...]) -> list[Jump]:
    """The jumps on a node's path, largest first."""
    alphas = dict.fromkeys(gate.alpha for gate in gates)
    together = {alpha: tuple(gate for gate in gates if gate.alpha == alpha) for alpha in alphas}
    return sorted((Jump(a, at[0].size, at) for a, at in together.items()), key=lambda jump: -abs(jump.size))


def key_numbers(verdict: Verdict) -> tuple[KeyNumber, ...]:
    """What was compared, how well it agrees, and what is known about the nodes that were not checked."""
    return (*_compared(verdict), *_at_threshold(verdict), *_agreement(verdict), _not_checked(verdict))


def _compared(verdict: Verdict) -> tuple[KeyNumber, ...]:
    settings = ", ".join(f"{name} {value}" for name, value in sorted(verdict.settings.items()))
    chosen = [f"{int((verdict.chosen_by == n).sum()):,} {name.replace('_', ' ')}" for n, name in enumerate(CHOSEN_BY)]
    chosen = [words for words in chosen if not words.startswith("0 ")]
    modes = f"estimate {verdict.error_mode}, exact {verdict.exact_error_mode}"
    gates = "recomputed in every run: no gate is met"
    if verdict.flips is not None:
        differ = "differs" if verdict.flips == 1 else "differ"
        gates = f"{counted_noun(verdict.flips, 'gate')} {differ} between the clean and the patch run"
    low, high = min(verdict.total_effect), max(verdict.total_effect)
    return (
        KeyNumber("nodes", f"{verdict.nodes:,}", f"{verdict.estimate_name}{f' ({settings})' if settings else ''}"),
        KeyNumber("checked", f"{verdict.verified:,}", f"by exact patching: {', '.join(chosen)}"),
        KeyNumber("threshold", f"{verdict.threshold:.3g} {verdict.unit}", "an effect of at least this size is large"),
        KeyNumber(
            "total effect",
            f"{signed_number(float(np.median(verdict.total_effect)))} {verdict.unit}",
            f"{verdict.metric}, {verdict.patch_value} patch: median of {counted_noun(verdict.examples, 'example')}, "
            f"range {signed_number(low)} to {signed_number(high)}",
        ),
        KeyNumber("SAE errors", modes, gates),
    )


def _at_threshold(verdict: Verdict) -> tuple[KeyNumber, ...]:
    count = verdict.gates_at_threshold
    gates = (KeyNumber("gates at their threshold", f"{count:,}", AT_THRESHOLD),) if count else ()
    if not verdict.undecided:
        return gates
    widest = verdict.undecided[0]
    values = f"{signed_number(widest.closed)} or {signed_number(widest.opened)}"
    words = (
        "rounding of the weights decides a gate of their exact effect, so they are not compared; the widest apart: "
        f"{verdict.name(widest.node, widest.example)} in pair {widest.example}, {values} {verdict.unit}"
    )
    return (*gates, KeyNumber("undecided nodes", f"{len(verdict.undecided):,}", words))


def _agreement(verdict: Verdict) -> tuple[KeyNumber, ...]:
    all_of = verdict.overall
    wrong = "none" if all_of.sign_flip_rate is None else f"{all_of.sign_flips:,} of {all_of.large:,}"
    rate = "" if all_of.sign_flip_rate is None else f" ({all_of.sign_flip_rate:.1%})"
    return (
        KeyNumber(
            "Pearson",
            two_decimals(all_of.pearson),
            "correlation of estimate and exact; 1 means an exactly linear relation",
        ),
        KeyNumber("Spearman", two_decimals(all_of.spearman), "correlation of their ranks; 1 means the same order"),
        KeyNumber(
            f"top {all_of.top}",
            whole_percent(all_of.top_overlap),
            f"of the {all_of.top} largest exact effects are among the {all_of.top} largest estimates",
        ),
        KeyNumber(
            "wrong sign", wrong + rate, f"of the checked nodes with |exact| ≥ {verdict.threshold:.3g} {verdict.unit}"
        ),
        KeyNumber("carried by jumps", whole_percent(all_of.jump_share), _jumps_read(verdict)),
    )


def _jumps_read(verdict: Verdict) -> str:
    if verdict.overall.jump_share is not None:
        return "of Σ|effect| comes from gates that flip, by chord IG"
    return "no gate is met" if verdict.flips is None else "chord IG was not run"


def _not_checked(verdict: Verdict) -> KeyNumber:
    bound = verdict.bound
    if bound is None or not bound.unverified:
        return KeyNumber("not checked", "none" if verdict.verified >= verdict.nodes else "no bound", _no_bound(verdict))
    return KeyNumber(
        "not checked",
        f"at most {bound.share:.1%} large",
        f"{bound.most_large:,} of {bound.unverified:,} nodes, with {bound.confidence:.0%} confidence: a random audit "
        f"of {bound.audited:,} found {bound.audited_large:,} large",
    )


def _no_bound(verdict: Verdict) -> str:
    return "every node was checked" if verdict.verified >= verdict.nodes else "nothing is known about the other nodes"
