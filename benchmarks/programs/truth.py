"""What is true of a contrast pair by its program alone; no network is run.

    node v@i is true            run(clean, do v@i = its patch value) answers otherwise than run(clean)
    edge v@i -> w@j is true     w@j' = w@j with v@i alone at its patch value, as seen by w@j only;
                                w@j' differs from w@j, and run(clean, do w@j = w@j') answers otherwise
    edge v@i -> metric is true  v@i is the answer

The answer is the output variable at the last position. This is the truth at the clean end: what patching one thing
does. Where one of two is enough (or both are needed) it is lopsided: nothing is true at one end and both at the other.
`either` is the truth of use: true with the prompts as they are, or with clean and patch exchanged.

Truth is of variables, not of dimensions: a one-hot value is two dimensions that change together, and one of them alone
is no value of the program. Candidates are the variables that differ between the two runs, so a negative is a variable
that changes and does not matter; edges are candidates where the network has a direct path: from an earlier layer, at
the same position or into attention.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attribution import PromptPair, PromptPairs
from benchmarks.programs.compiled_model import BOS, Compiled
from benchmarks.programs.rasp import Mixture, Place, Source, Value, Variable, run_program, same_value, variables

METRIC = Place("metric", -1)


@dataclass(frozen=True)
class Contrast:
    """The tokens of a clean and a patch prompt."""

    clean: tuple[Value, ...]
    patch: tuple[Value, ...]

    def exchanged(self) -> "Contrast":
        """The same pair from its other end."""
        return Contrast(self.patch, self.clean)


@dataclass(frozen=True)
class Truth:
    """Candidate nodes and edges of one contrast pair, and which of them are true."""

    nodes: Mapping[Place, bool]
    edges: Mapping[tuple[Place, Place], bool]

    def either(self, other: "Truth") -> "Truth":
        """True here or there."""
        return Truth(
            {node: true or other.nodes[node] for node, true in self.nodes.items()},
            {edge: true or other.edges[edge] for edge, true in self.edges.items()},
        )


def truth_of(compiled: Compiled, pair: Contrast) -> Truth:
    """The truth of one pair."""
    output, length = compiled.program.output, len(pair.clean)
    answer = Place(output.name, length - 1)
    clean, patch = run_program(output, pair.clean), run_program(output, pair.patch)
    by_name = {v.name: v for v in variables(output)}
    changed = [place for place in clean if not same_value(clean[place], patch[place])]

    def matters(place: Place, value: Value) -> bool:
        return not same_value(run_program(output, pair.clean, {place: value})[answer], clean[answer])

    def seen(source: Place, target: Place) -> Value:
        def read(variable: Variable, position: int) -> Value:
            place = Place(variable.name, position)
            return patch[place] if place == source else clean[place]

        return by_name[target.variable].at(target.position, length, read)

    def carries(source: Place, target: Place) -> bool:
        value = seen(source, target)
        return not same_value(value, clean[target]) and matters(target, value)

    layers = {name: 0 if isinstance(v, Source) else written_by(compiled, name) for name, v in by_name.items()}
    edges = {
        (source, target): carries(source, target)
        for target in changed
        for source in changed
        if layers[source.variable] < layers[target.variable]
        and (source.position == target.position or by_name[target.variable].attends)
    }
    into_metric = {(place, METRIC): place == answer for place in changed if place.position == length - 1}
    return Truth({place: matters(place, patch[place]) for place in changed}, edges | into_metric)


def written_by(compiled: Compiled, variable: str) -> int:
    """The part of the network that writes a variable: 1 and 2 for block 0's attention and MLP, and so on.

    The first part that does: the MLP that counts from a share clears the share's dimension again, which nothing reads.
    """
    dimensions = [n for n, name in enumerate(compiled.variable_of) if name == variable]
    parts = [w for block in compiled.model.module.blocks for w in (block.out, block.down)]
    return next(n for n, weight in enumerate(parts, 1) if weight[:, dimensions].any())


def contrasts(compiled: Compiled, count: int, seed: int = 0, attempts: int = 100_000) -> tuple[Contrast, ...]:
    """Random pairs whose answers are two values, and that differ in their first token and at least one more.

    Attention looks both ways, so from the first difference on every position can change. Pairs in which a variable is a
    mixture are left out: the program has no value there.
    """
    program, draw = compiled.program, np.random.default_rng(seed)
    found: dict[Contrast, None] = {}
    for _ in range(attempts):
        pair = Contrast(*(_prompt(program.alphabet, program.length, draw) for _ in range(2)))
        kept = draw.random(program.length) < 0.4
        pair = Contrast(pair.clean, tuple(c if k else p for c, p, k in zip(pair.clean, pair.patch, kept, strict=True)))
        if _fits(compiled, pair):
            found.setdefault(pair)
        if len(found) == count:
            return tuple(found)
    raise ValueError(f"{program.name}: {len(found)} pairs found in {attempts} attempts; {count} were asked for.")


def contrast_pairs(compiled: Compiled, pairs: Sequence[Contrast]) -> PromptPairs:
    """The pairs as token ids. The answer of a number's program is its one output, the foil BOS, whose logit is 0."""
    output, last = compiled.program.output, compiled.program.length - 1
    made: list[PromptPair] = []
    for pair in pairs:
        answers = [run_program(output, tokens)[Place(output.name, last)] for tokens in (pair.clean, pair.patch)]
        foil = BOS if output.numerical else compiled.output_id(answers[1])
        made.append(
            PromptPair(compiled.ids(pair.clean), compiled.ids(pair.patch), compiled.output_id(answers[0]), foil)
        )
    return PromptPairs(tuple(made))


def _prompt(alphabet: Sequence[Value], length: int, draw: np.random.Generator) -> tuple[Value, ...]:
    return tuple(alphabet[n] for n in draw.integers(len(alphabet), size=length))


def _fits(compiled: Compiled, pair: Contrast) -> bool:
    program = compiled.program
    differ = [c != p for c, p in zip(pair.clean, pair.patch, strict=True)]
    if not differ[0] or sum(differ) < 2 or not program.takes(pair.clean, pair.patch):
        return False
    ends = [run_program(program.output, tokens) for tokens in (pair.clean, pair.patch)]
    if any(isinstance(value, Mixture) for end in ends for value in end.values()):
        return False
    first, second = (end[Place(program.output.name, program.length - 1)] for end in ends)
    return first is not None and second is not None and not same_value(first, second)
