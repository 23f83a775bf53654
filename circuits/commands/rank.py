"""`jumpwire rank`: average every node's effect over a dataset of any length, and keep where each does most."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from rich.console import Console
from rich.table import Table

from circuits.commands.shared.choices import quadrature, refuse_excluded, refuse_unknown
from circuits.commands.shared.inputs import Inputs
from circuits.commands.shared.options import (
    INPUTS,
    METHOD,
    METHOD_NAMES,
    OUTPUT,
    EstimateOptions,
    MemoryOptions,
    QuestionOptions,
    ResumeOptions,
    RowsOptions,
    choices_in_words,
    option,
)
from circuits.terminal.cautions import caution_texts
from circuits.terminal.progress import progress_bar
from circuits.terminal.resumable import CHUNKS, chunks_in_words, chunks_report, resumable
from graphs.nodes import EVERYWHERE, short_site
from graphs.words.site_words import kept_in_words

if TYPE_CHECKING:
    from attribution.effects.effects import Effects
    from attribution.effects.quadrature import Quadrature
    from attribution.prompts.prompt_pair import PromptPair
    from attribution.prompts.prompt_pairs import PromptPairs
    from attribution.splice.spliced_model import SplicedModel
    from circuits.ranking.dataset import DatasetRanking
    from graphs import Caution

PATCH_NAMES: Final = ("counterfactual", "zero")
"""A mean over the dataset would have to be known before the dataset is read."""
RANKING: Final = "Ranking"


@dataclass(frozen=True)
class RankInputs(Inputs):
    """Pairs may also come as lines of a JSONL file, which is read as it is needed."""

    pairs: Annotated[
        str | None,
        option(
            INPUTS,
            "Use your own prompt pairs, from this file, instead: JSON, or JSONL, which is read as it is needed.",
            metavar="FILE",
        ),
    ] = None


@dataclass(frozen=True)
class RankOptions(RowsOptions, ResumeOptions, MemoryOptions, EstimateOptions, QuestionOptions):
    """How nodes are measured and averaged."""

    method: Annotated[
        str, option(METHOD, f"How effects are measured: {choices_in_words(METHOD_NAMES)}.", metavar="METHOD")
    ] = "chord-ig"
    patch: Annotated[
        str,
        option(
            METHOD,
            "Value that nodes are set to: counterfactual (their value on the patch prompt) or zero.",
            metavar="VALUE",
        ),
    ] = PATCH_NAMES[0]
    at_once: Annotated[
        int, option(METHOD, "Pairs read and kept at a time; they are measured in batches that fit --memory.", min=1)
    ] = 32
    together: Annotated[
        bool, option(RANKING, "Add up a node's effects over all positions of a prompt.", "--together")
    ] = False
    strongest: Annotated[
        int, option(RANKING, "For each node, remember this many pairs in which its effect is largest.", min=0, max=1000)
    ] = 5
    out: Annotated[
        str | None, option(OUTPUT, "Parquet file to write. Default: out/<task or file>-rank.parquet.", metavar="FILE")
    ] = None


def rank(console: Console, inputs: RankInputs, options: RankOptions) -> None:
    """Rank all nodes over a dataset of any length: mean effects, their errors, and the pairs where each does most."""
    with console.status("loading"):
        inputs.refuse_unreadable()

        from circuits.ranking.dataset import rank as rank_dataset
        from circuits.ranking.ranking_file import write_ranking
        from circuits.terminal.shown_prompt import shown_prompt
        from graphs.files.whole_file import refuse_unwritable, whole_file

        plan = _Plan.of(options)
        target = Path(options.out or Path("out") / f"{inputs.name}-rank.parquet")
        chunks = _chunks_beside(target)
        refuse_unwritable(chunks)
        stream = _Stream.of(inputs)
    with console.status("loading the model and its SAEs"):
        spliced = inputs.load_spliced()
    with console.status("reading the pairs"):
        count, longest, said = stream.read_through(spliced)
        measure = plan.on(spliced, longest)
    console.print(shown_prompt(spliced, longest, count, "longest"))
    with resumable(chunks, resume=options.resume) as store:
        with progress_bar(console, f"{options.method} on {count:,} pair(s)", store) as told:
            found = rank_dataset(
                stream.pairs(spliced),
                spliced.model,
                measure,
                at_once=options.at_once,
                together=options.together,
                strongest=options.strongest,
                skip_bad=inputs.skip_bad_pairs,
                done=lambda number: told(number / count),
            )
        found = replace(found, warnings=(*found.warnings, *_cautions(stream, spliced)))
        with whole_file(target) as path:
            write_ranking(found, path, chunks_report(store))
        if (kept := kept_in_words(spliced.boundary)) is not None:
            console.print(f"{inputs.name}: {kept}", highlight=False)
        if said is not None:
            console.print(said, highlight=False)
        print_ranking(console, found, method=options.method, rows=options.rows, file=target)
        console.print(chunks_in_words(store), highlight=False)


def _cautions(stream: "_Stream", spliced: "SplicedModel") -> "tuple[Caution, ...]":
    """Warnings about the SAEs. Pairs are read again until every SAE has been active; usually the first is enough."""
    from attribution.checking.dictionary_cautions import dictionary_cautions
    from attribution.prompts.prompt_pairs import PromptPairs

    batches = (PromptPairs((pair,)).batch(device=spliced.model.device) for pair in stream.pairs(spliced))
    return dictionary_cautions(spliced, batches)


def _chunks_beside(target: Path) -> Path:
    """The folder that keeps finished work: `target` with `.chunks` appended; a ValueError if `target` is a folder."""
    if target.is_dir():
        raise ValueError(f"--out {target} is a folder: give the file to write, as in {target / 'rank.parquet'}.")
    return target.with_name(f"{target.name}.{CHUNKS}")


@dataclass(frozen=True)
class _Stream:
    """The pairs, one by one: those of a JSONL file are read as they are needed, others are all in memory."""

    inputs: Inputs
    lines: str | None

    @classmethod
    def of(cls, inputs: Inputs) -> "_Stream":
        """Of inputs whose files were found to be readable (`refuse_unreadable`)."""
        from attribution.prompts.pair_file import holds_lines

        lines = inputs.pairs is not None and holds_lines(inputs.pairs)
        return cls(inputs, inputs.pairs if lines else None)

    def read_through(self, spliced: "SplicedModel") -> "tuple[int, PromptPair, str | None]":
        """The number of pairs, the longest, and what their answers are where these are not one token each.

        Pairs that do not fit the model or its tokenizer, or that disagree about roles, are refused here, before
        anything is measured.
        """
        from attribution.prompts.answer_kinds import AnswerKinds
        from attribution.prompts.position_names import SameRoles

        roles, kinds, count, longest = SameRoles(), AnswerKinds(), 0, None
        for pair in self.pairs(spliced):
            roles.check(count, pair.roles)
            count += 1
            kinds.add(pair)
            longest = pair if longest is None else max(longest, pair, key=len)
        if longest is None:
            raise ValueError("No prompt pairs: there is nothing to measure.")
        return count, longest, kinds.in_words()

    def pairs(self, spliced: "SplicedModel") -> "Iterator[PromptPair]":
        """The pairs, from the first."""
        from attribution.prompts.pair_stream import pair_stream

        if self.lines is None:
            return iter(self.inputs.prompts(spliced.model))
        stream = pair_stream(self.lines, spliced.model, splice_bos=spliced.splice_bos)
        return islice(stream, self.inputs.examples)


@dataclass(frozen=True)
class _Plan:
    """What can be settled about the measurement without the model."""

    method: str
    points: "Quadrature | None"
    about: dict[str, Any]

    @classmethod
    def of(cls, options: RankOptions) -> "_Plan":
        """From the options; unknown or incompatible choices are refused here."""
        refuse_unknown("method", options.method, METHOD_NAMES)
        refuse_unknown("patch", options.patch, PATCH_NAMES)

        from attribution.methods.registry import refuse_points
        from attribution.prompts.metric_names import metric_named
        from attribution.splice.patch_values import counterfactual, zero
        from circuits.discovery.discover import patching_mode

        refuse_excluded(options.method, options.error, options.patch, options.metric)
        if options.points or options.rule:
            refuse_points(options.method)
        about = {
            "metric": metric_named(options.metric),
            "error_mode": patching_mode(options.method, options.error),  # pyright: ignore
            "patch_value": zero if options.patch == "zero" else counterfactual,
            "memory": options.memory,
        }
        return cls(options.method, quadrature(options.points, options.rule, options.method), about)

    def on(self, spliced: "SplicedModel", longest: "PromptPair") -> "Callable[[PromptPairs], Effects]":
        """A function that measures some pairs within the memory; a ValueError if the longest alone does not fit."""
        from attribution.prompts.prompt_pairs import PromptPairs
        from attribution.runs.progress import silent
        from circuits.discovery.measuring import measure_nodes
        from circuits.ranking.question import Question

        question = Question(spliced, PromptPairs((longest,)), **self.about)
        question.room.refuse_if_too_small(self.method)
        question = replace(question, memory=question.room.size)  # what is free now, before batches take their part
        return lambda few: measure_nodes(replace(question, pairs=few), self.method, None, self.points, silent).effects


def print_ranking(console: Console, found: "DatasetRanking", *, method: str, rows: int, file: Path) -> None:
    """What was measured, warnings, the `rows` strongest nodes with the pair in which each does most, and the sign."""
    ranking = found.ranking
    console.print(
        f"{len(ranking.nodes)} nodes over {found.examples} pairs: {method}, {found.error_mode} errors, "
        f"{found.patch_value} patch; total effect {found.total_effect:+.3f} {found.unit} (mean)"
    )
    if found.left_out:
        each = "; ".join(f"pair {row}: {fault}" for row, fault in sorted(found.left_out.items()))
        console.print(f"Left out, because the metric is not finite: {each}.", highlight=False)
    for line in caution_texts(found.warnings):
        console.print(line)
    if found.undecided:
        console.print(f"{found.undecided} effects are undecided: rounding of the weights decides a gate. Not ranked.")
    table = Table(box=None, pad_edge=False)
    for name in ("effect", "± s.e.", "mean |.|", "pairs", "node", "most in pair"):
        words = name in ("node", "most in pair")
        table.add_column(name, justify="left" if words else "right", no_wrap=True, min_width=None if words else 8)
    for weighted, own in list(zip(ranking.nodes, found.strongest, strict=True))[:rows]:
        error = "" if weighted.standard_error is None else f"{weighted.standard_error:.3f}"
        most = ", ".join(f"{example} ({effect:+.2f})" for example, effect in own[:1])
        values = (f"{weighted.effect:+.3f}", error, f"{weighted.mean_absolute:.3f}", str(weighted.count))
        table.add_row(*values, short_site(found.name(weighted.node)).removesuffix(f"@{EVERYWHERE}"), most)
    console.print(table)
    console.print(f"effect: in {found.unit}; {found.sign}. Pairs are numbered from 0.")
    console.print(f"All nodes are in {file}.")
