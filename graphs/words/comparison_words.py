"""A comparison of two circuits in words: its headline, its numbers with their readings, its table of F."""

from typing import Final

from graphs.comparison import ComparedNode, Comparison, Overlap, TaskFaithfulness
from graphs.faithfulness import Bound
from graphs.words.number_formats import counted_noun, two_decimals, whole_percent
from graphs.words.verdict_words import KeyNumber

FAITHFULNESS_HEADS: Final = ("task", "circuit", "F", "completeness")


def comparison_headline(comparison: Comparison) -> str:
    """How many of each circuit's features and errors the other has, in a sentence."""
    nodes, (a, b) = comparison.node_overlap, comparison.names
    own_a, own_b = nodes.shared + nodes.only_a, nodes.shared + nodes.only_b
    return (
        f"{counted_noun(nodes.shared, 'node')} {'is' if nodes.shared == 1 else 'are'} in both circuits: "
        f"{whole_percent(nodes.shared / own_a)} of the {own_a:,} of {a}, {whole_percent(nodes.shared / own_b)} of the "
        f"{own_b:,} of {b}."
    )


def comparison_numbers(comparison: Comparison) -> tuple[KeyNumber, ...]:
    """What is shared of nodes and edges, and how the effects of shared nodes agree."""
    shared = f"effects of the {counted_noun(comparison.node_overlap.shared, 'shared node')}"
    return (
        *_of_overlap("nodes", comparison.node_overlap),
        KeyNumber("Spearman", two_decimals(comparison.spearman), f"rank correlation of {shared}"),
        KeyNumber("same sign", whole_percent(comparison.same_sign), f"of {shared}"),
        *_of_overlap("edges", comparison.edge_overlap),
    )


def _of_overlap(what: str, overlap: Overlap) -> tuple[KeyNumber, ...]:
    counts = f"shared {overlap.shared:,}, only in the first {overlap.only_a:,}, only in the second {overlap.only_b:,}"
    size = "|effect|" if what == "nodes" else "|weight|"
    return (
        KeyNumber(f"{what}, Jaccard", two_decimals(overlap.jaccard), counts),
        KeyNumber(
            f"{what}, weighted",
            two_decimals(overlap.weighted_jaccard),
            f"Σ min / Σ max of {size} as a share of each circuit's sum",
        ),
    )


def faithfulness_rows(comparison: Comparison) -> list[tuple[str, str, str, str]]:
    """F and completeness of each circuit on each task, under `FAITHFULNESS_HEADS`."""
    return [_faithfulness_row(comparison, found) for found in comparison.faithfulness]


def _faithfulness_row(comparison: Comparison, found: TaskFaithfulness) -> tuple[str, str, str, str]:
    measured, circuit = found.measured, comparison.name(found.circuit)
    model = "" if found.model == found.circuit else f" in the model of {comparison.name(found.model)}"
    return (
        f"{comparison.name(found.task)}, {counted_noun(measured.pairs, 'pair')}",
        f"{circuit}{model}",
        with_interval(measured.faithfulness, measured.low, measured.high),
        with_interval(measured.completeness, measured.completeness_low, measured.completeness_high),
    )


def with_interval(value: float, low: Bound, high: Bound) -> str:
    """`0.87 [0.80, 0.92]`; without an interval where the data do not bound the value."""
    bounds = "" if low is None or high is None else f" [{_decimals(low)}, {_decimals(high)}]"
    return f"{_decimals(value)}{bounds}"


def _decimals(value: float) -> str:
    """Two decimals; what rounds to zero has no sign."""
    return two_decimals(round(value, 2) + 0.0)


def twin_in_words(comparison: Comparison, node: ComparedNode) -> str | None:
    """The feature of the other circuit's SAE that a node matches, with how alike they are; None without one."""
    if node.twin is None:
        return None
    alone, other = node.a is None or node.b is None, comparison.names[0 if node.a is None else 1]
    alike = f"cosine {two_decimals(node.cosine)}, correlation {two_decimals(node.correlation)}"
    return f"matches {node.twin} of {other}{', which the circuit lacks' if alone else ''} ({alike})"
