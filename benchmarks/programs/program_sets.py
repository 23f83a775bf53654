"""The set of variables that a program needs on one contrast pair, and the set that the search finds in its network.

    C suffices          run(clean, do every computed variable outside C = its patch value) answers as run(clean)
    u is needed         all variables that differ between the prompts, but u, do not suffice

This is how circuits are judged, for programs. A program has one set, what it needs, where that suffices and no part of
it does. Elsewhere it has several: where variables back each other up, what is needed does not suffice; where changes
cancel (one x comes, one x goes), a part of it suffices. Tokens are as in the clean prompt, in programs and in networks.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from attribution import PromptPairs, SplicedModel
from attribution.prompts.position_names import places_by_label
from attribution.splice import references
from attribution.splice.resuming import TOKENS
from benchmarks.programs.compiled_model import Compiled
from benchmarks.programs.grouping import Grouping
from benchmarks.programs.rasp import Mixture, Place, run_program, same_value, variables
from benchmarks.programs.truth import Contrast, contrast_pairs
from circuits import attribution_patching, logit_difference, rank_nodes
from circuits.selection.iterated import iterate
from circuits.selection.node_sets import Directions, NodeSets
from circuits.selection.pair_parts import both_directions
from graphs import ErrorNode, FeatureNode

Several = Literal["one", "backed up", "cancelling"]


@dataclass(frozen=True)
class ProgramSet:
    """The variables needed, and whether they are the program's one set; if not, why not."""

    needed: frozenset[Place]
    several: Several


def suffices(compiled: Compiled, pair: Contrast, kept: Collection[Place]) -> bool:
    """Whether the answer stays that of the clean prompt when all variables but these take their patch values."""
    output = compiled.program.output
    patch, answer = run_program(output, pair.patch), Place(output.name, len(pair.clean) - 1)
    computed = {v.name for v in variables(output) if v.inputs}
    outside = {p: value for p, value in patch.items() if p.variable in computed and p not in kept}
    try:
        found = run_program(output, pair.clean, outside)[answer]
    except ValueError:  # a variable reads a mixture: the program has no answer
        return False
    return not isinstance(found, Mixture) and same_value(found, run_program(output, pair.clean)[answer])


def changed(compiled: Compiled, pair: Contrast) -> list[Place]:
    """The computed variables that differ between the prompts."""
    output = compiled.program.output
    computed = {v.name for v in variables(output) if v.inputs}
    clean, patch = run_program(output, pair.clean), run_program(output, pair.patch)
    return [p for p in clean if p.variable in computed and not same_value(clean[p], patch[p])]


def program_set(compiled: Compiled, pair: Contrast) -> ProgramSet:
    """What the program needs on a pair."""
    every = changed(compiled, pair)
    needed = frozenset(p for p in every if not suffices(compiled, pair, set(every) - {p}))
    if not suffices(compiled, pair, needed):
        return ProgramSet(needed, "backed up")
    parts = (part for size in range(len(needed)) for part in combinations(needed, size))
    return ProgramSet(needed, "cancelling" if any(suffices(compiled, pair, part) for part in parts) else "one")


def iterated_set(compiled: Compiled, spliced: SplicedModel, pair: Contrast, target: float = 0.999) -> set[Place | None]:
    """The variables of which the iterated search keeps a dimension; None stands for a node of no variable."""
    pairs = contrast_pairs(compiled, [pair])
    effects = attribution_patching(spliced, pairs, logit_difference)
    ranking = rank_nodes(effects, pairs, spliced.model, scheme="offset")
    nodes = [w.node for w in ranking.nodes if isinstance(w.node, FeatureNode | ErrorNode)]

    def sets(own: PromptPairs) -> NodeSets:
        return NodeSets(spliced, own, logit_difference, references.counterfactual, nodes, ranking.positions)

    both = Directions([sets(own) for own in both_directions(pairs)])
    found = iterate(sets(pairs), both, None, target=target)
    position = {label: int(at[0]) for label, (_, at) in places_by_label(pairs).items()}
    grouping = Grouping(compiled, (TOKENS, *spliced.sites))
    kept = [node for node, inside in zip(nodes, found.chosen, strict=True) if inside]
    return {
        grouping.place(n.site, position[ranking.positions[n.position].label], n.index)
        if isinstance(n, FeatureNode)
        else None
        for n in kept
    }
