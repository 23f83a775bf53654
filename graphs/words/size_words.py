"""In words: how the size of a circuit was chosen, and how stable its nodes and edges are."""

from collections.abc import Iterator, Sequence

from graphs.certificate import STABLE, SizeChoice, Stability
from graphs.words.certificate_line import NO_RULE, CertificateLine
from graphs.words.number_formats import counted_noun, two_decimals, whole_percent
from graphs.words.part_words import OWN


def size_lines(choice: SizeChoice | None) -> Iterator[CertificateLine]:
    """Who chose the size and what is missing to the target, and the opponents of the task that were left out."""
    if choice is None:
        return
    reached, target = two_decimals(choice.faithfulness), two_decimals(choice.target)
    reading = f"F = {reached} before pruning, {_on(choice)}; {target} was asked for."
    if not choice.reached:
        reading += f" {_limit_of(choice)}"
    by_others = choice.split != OWN or choice.folds > 0
    yield CertificateLine(
        name="size",
        value=f"{choice.nodes:,} of {choice.largest:,} features and errors",
        reading=reading,
        colour="green" if choice.reached and by_others else "amber",
        rule=(
            "green where other pairs than the circuit's own, or cross-validation, chose the size and F reached the "
            "target, else amber"
        ),
    )
    if choice.opponents:
        listed = ", ".join(f"{name} ({effect:+.3g})" for name, effect in choice.opponents.items())
        yield CertificateLine(
            name="opponents left out",
            value=counted_noun(len(choice.opponents), "node"),
            reading=(
                "The nodes outside that worked against the task most, in the set that was left when they were dropped. "
                f"Their effects alone: {listed}."
            ),
            colour="grey",
            rule=NO_RULE,
        )


def _on(choice: SizeChoice) -> str:
    """The pairs on which F was measured."""
    if choice.folds:
        return (
            f"by {choice.folds}-fold cross-validation on the {counted_noun(choice.pairs, 'pair')} that found the "
            "circuit, each judged by a search that did not have it"
        )
    if choice.split == OWN:
        return "on the pairs that found the circuit, since none were set aside"
    words = " with other words" if choice.new_words else ""
    return f"on {counted_noun(choice.pairs, 'pair')}{words}, which did not find the circuit"


def _limit_of(choice: SizeChoice) -> str:
    """What would reach the target, in one sentence with its numbers."""
    if choice.largest_faithfulness < choice.target:
        return (
            f"No set can: all {choice.largest:,} reach {two_decimals(choice.largest_faithfulness)}. More pairs, "
            "or SAEs with smaller errors, would raise that."
        )
    if choice.needed is not None and choice.needed > choice.most:
        return f"About {choice.needed:,} of them reach it; at most {choice.most:,} were allowed."
    return "No set of the search reaches it with one standard error to spare. More pairs would make that error smaller."


def stability_lines(found: Sequence[Stability]) -> Iterator[CertificateLine]:
    """In how many resamples the nodes and edges are, for resampled pairs and resampled templates."""
    for stability in found:
        share = stability.stable_nodes / max(1, stability.nodes)
        kept = (
            ""
            if stability.kept_from is None
            else f" Nodes in fewer than {whole_percent(stability.kept_from)} of the resamples were left out."
        )
        yield CertificateLine(
            name=f"stability, {stability.over}",
            value=f"{stability.stable_nodes:,} of {stability.nodes:,} nodes stable",
            reading=(
                f"Of {stability.resamples:,} circuits found on resampled {stability.over}, at least "
                f"{whole_percent(STABLE)} have each of these nodes, and each of {stability.stable_edges:,} of the "
                f"{counted_noun(stability.edges, 'edge')}. A node is in {whole_percent(stability.mean)} of them on "
                f"average; a circuit of a resample shares {whole_percent(stability.overlap)} of its nodes with this "
                f"one (Jaccard).{kept}"
            ),
            colour="green" if share >= 0.75 else "amber" if share >= 0.4 else "red",
            rule=f"green where 75% of the nodes are in {whole_percent(STABLE)} of the resamples, amber from 40%",
        )
