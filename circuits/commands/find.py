"""`jumpwire find`: measure every node, keep the strongest, join them by edges, certify the circuit, write the run."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from rich.console import Console
from rich.text import Text

from circuits.commands.shared.choices import patch_value, quadrature, refuse_excluded, refuse_unknown
from circuits.commands.shared.inputs import Inputs, Loaded, OtherPairs
from circuits.commands.shared.options import (
    CIRCUIT,
    EVIDENCE,
    INPUTS,
    METHOD,
    METHOD_NAMES,
    OUTPUT,
    PATCH_NAMES,
    EstimateOptions,
    MemoryOptions,
    QuestionOptions,
    ResumeOptions,
    RowsOptions,
    choices_in_words,
    option,
    option_parser,
    refuse_missing_file,
)
from circuits.tasks.templates import text_pairs
from circuits.terminal.amounts import seconds_of, time_in_words
from circuits.terminal.progress import progress_bar
from circuits.terminal.resumable import CHUNKS, chunks_report, resumable
from circuits.terminal.timing import timed
from graphs.files.whole_file import refuse_unwritable

if TYPE_CHECKING:
    from attribution.models.language_model import LanguageModel
    from attribution.runs.pace import Work
    from circuits.commands.shared.run_files import RunFolder
    from circuits.discovery.discover import Found
    from circuits.labels.corpus import Corpus
    from graphs.site_trial import TrialOfSites

AUTO: Final = "auto"
DEFAULT_EXAMPLES: Final = 100
DEFAULT_BUDGET: Final = "10m"
DEFAULT_FAITHFULNESS: Final = 0.8
"""On the pairs that choose the circuit's size, with one standard error to spare."""
DEFAULT_MOST: Final = 1000
BESIDE: Final = ("atp", "ig", "chord-ig")
DEFAULT_VALIDATION: Final = 0.25
DEFAULT_TEST: Final = 0.25
DEFAULT_RESAMPLES: Final = 100
SELECTIONS: Final = ("iterated", "learned", "ranking")
SCHEMES: Final = ("auto", "role", "offset", "none")
GENERAL_PIECES: Final = 32
"""Pieces of general text on which the SAEs are judged."""
LABELS: Final = "labels"
"""The stage that labels the circuit's features."""
LABEL_CACHE: Final = "label_cache"
"""Folder, beside the run's, that remembers labels; for a run in out/ it is the one that `jumpwire labels` uses."""


@dataclass(frozen=True)
class FindInputs(Inputs):
    """More pairs by default than other commands take: a circuit is a claim about the task."""

    examples: Annotated[
        int | None,
        option(INPUTS, f"Number of pairs. Default: {DEFAULT_EXAMPLES} of a task, all of a file.", min=1),
    ] = None


@dataclass(frozen=True)
class FindOptions(RowsOptions, ResumeOptions, MemoryOptions, EstimateOptions, QuestionOptions):
    """How effects are measured, which nodes are kept, and what the circuit is judged on."""

    method: Annotated[
        str,
        option(
            METHOD,
            f"How effects are measured: {choices_in_words((AUTO, *METHOD_NAMES))}. auto is exact if that fits "
            "--budget; if not, it estimates all effects and patches some nodes exactly to verify the estimate.",
            metavar="METHOD",
        ),
    ] = AUTO
    budget: Annotated[
        float,
        option(
            METHOD,
            "With --method auto: time for the whole command, as 90s, 5m or 2h; what does not fit is estimated or left "
            f"out, and told. Default: {DEFAULT_BUDGET}.",
            parser=option_parser(seconds_of),
            show_default=False,
            metavar="TIME",
        ),
    ] = seconds_of(DEFAULT_BUDGET)
    verify: Annotated[
        int | None,
        option(
            METHOD,
            "Patch this many nodes exactly to verify an estimate. Default: none; with auto, as many as fit --budget.",
            min=1,
        ),
    ] = None
    select: Annotated[
        str | None,
        option(
            CIRCUIT,
            "How nodes are chosen: iterated (a search that drops what helps the circuit least), learned (masks trained "
            "to keep few nodes; drawn with --seed) or ranking (the first nodes of a ranking). Default: iterated with "
            "--faithful, else ranking.",
            metavar="HOW",
        ),
    ] = None
    drop: Annotated[
        float | None,
        option(CIRCUIT, "With --select iterated: share of the nodes dropped in a round. Default: 0.15."),
    ] = None
    positions: Annotated[
        str,
        option(
            CIRCUIT,
            "What a node is: a feature at a role that the pairs name (role), at a distance from the end (offset), or "
            "wherever it is active (none). auto: role where the pairs have roles, offset for one pair, else none.",
            metavar="SCHEME",
        ),
    ] = SCHEMES[0]
    faithful: Annotated[
        float | None,
        option(
            CIRCUIT,
            "Keep the fewest nodes with this faithfulness (1: the circuit does all that the model does) on pairs that "
            f"did not find the circuit. Default: {DEFAULT_FAITHFULNESS}.",
        ),
    ] = None
    most: Annotated[int, option(CIRCUIT, "With --faithful: keep at most this many nodes.", min=1)] = DEFAULT_MOST
    keep_if_stable: Annotated[
        float | None,
        option(
            CIRCUIT,
            "Of the nodes that the search finds, keep those that at least this share (0 to 1) of the searches on "
            "resampled pairs find too.",
        ),
    ] = None
    nodes: Annotated[int | None, option(CIRCUIT, "Instead: keep this many nodes, the strongest.", min=1)] = None
    threshold: Annotated[
        float | None, option(CIRCUIT, "Instead: keep nodes with at least this |mean effect|, in units of the metric.")
    ] = None
    share: Annotated[
        float | None, option(CIRCUIT, "Instead: keep the fewest nodes that carry this share (0 to 1) of Σ|effect|.")
    ] = None
    rank_by: Annotated[
        str | None,
        option(
            CIRCUIT,
            "Method by whose effects nodes are ranked, with --select ranking. Default: that of --method.",
            metavar="METHOD",
        ),
    ] = None
    beside: Annotated[
        str,
        option(
            CIRCUIT,
            "Methods whose estimates are shown beside the effects, separated by commas, or none. IG among them is "
            "checked against exact effects.",
            metavar="METHODS",
        ),
    ] = ",".join(BESIDE)
    least_edge: Annotated[float, option(CIRCUIT, "Drop edges that carry less than this share of the total effect.")] = (
        0.002
    )
    per_pair: Annotated[bool, option(CIRCUIT, "Find a circuit for each pair, not one for all.", "--per-pair")] = False
    validation: Annotated[
        float,
        option(
            EVIDENCE,
            "Share of the pairs that choose the circuit's size and do not find it. Of a task's held-out pairs this "
            "share is taken; of a file, any pairs.",
            min=0.0,
        ),
    ] = DEFAULT_VALIDATION
    folds: Annotated[
        int | None,
        option(
            EVIDENCE,
            "Without validation pairs: choose the circuit's size by cross-validation with this many folds (0: the "
            "pairs that find it choose). Default: 4 with fewer than 32 pairs.",
            min=0,
        ),
    ] = None
    resamples: Annotated[
        int,
        option(
            EVIDENCE,
            "Circuits found on resampled pairs: how many of them have a node or an edge is its stability. 0: none.",
            min=0,
            max=10_000,
        ),
    ] = DEFAULT_RESAMPLES
    test: Annotated[
        float,
        option(EVIDENCE, "Share of a file's pairs that judge the circuit, unless --held-out does.", min=0.0),
    ] = DEFAULT_TEST
    held_out: Annotated[
        str | None,
        option(EVIDENCE, "File with other prompt pairs that judge the circuit.", metavar="FILE"),
    ] = None
    other_examples: Annotated[
        int, option(EVIDENCE, "Pairs of each other split of the task: they choose the size and judge.", min=0)
    ] = 100
    text: Annotated[
        str | None,
        option(
            EVIDENCE,
            "General text to measure the SAEs and label features on: a document a line, or JSONL with `text`. "
            "Default: text of the embedded language for the embedded model, else none.",
            metavar="FILE",
        ),
    ] = None
    labels: Annotated[
        bool,
        option(
            EVIDENCE,
            "Do not label the circuit's features. With --per-pair they never are.",
            " /--no-labels",
            show_default=False,
        ),
    ] = True
    explained: Annotated[
        int,
        option(EVIDENCE, "Nodes of the circuit with a wrong estimate whose cause is traced along their path.", min=0),
    ] = 10
    out: Annotated[
        str | None, option(OUTPUT, "Folder for the files. Default: out/<task or file>.", metavar="FOLDER")
    ] = None

    def __post_init__(self) -> None:
        if self.least_edge < 0:
            raise ValueError(f"--least-edge is a share of the total effect, 0 or more; got {self.least_edge}.")
        for name in ("validation", "test"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"--{name} is a share of the pairs, from 0 to less than 1; got {getattr(self, name)}.")
        if self.folds == 1:
            raise ValueError("--folds 1 leaves nothing to judge on: give 2 or more, or 0 for no cross-validation.")
        refuse_missing_file("--held-out", self.held_out)
        refuse_missing_file("--text", self.text)


def find(console: Console, inputs: FindInputs, options: FindOptions) -> None:
    """Find a circuit: measure the effect of every feature, SAE error and token on a task, and keep the strongest.

    Without options: subject-verb agreement in the embedded model, on 100 pairs of prompts; nothing is downloaded.
    """
    if inputs.examples is None and inputs.of_a_task:
        inputs = replace(inputs, examples=DEFAULT_EXAMPLES)
    seconds: dict[str, float] = {}
    since = time.monotonic()
    with console.status("loading"), timed(seconds, "import"):
        inputs.refuse_unreadable()

        from attribution.checking.model_report import model_report
        from attribution.runs.progress import progress_between
        from circuits.commands.find_output import StageWatch, print_found, print_trial
        from circuits.commands.shared.run_files import RunFolder, write_run
        from circuits.discovery.pair_index import PairIndex
        from circuits.labels.feature_labels import label
        from circuits.terminal.shown_prompt import shown_prompt

        plan = _plan(options, inputs.seed)
        plan["since"] = since
        target = RunFolder(Path(options.out or Path("out") / inputs.name))
        target.refuse_unwritable()
        _refuse_unreadable(inputs, options, target)
    with console.status("loading the model and its SAEs"), timed(seconds, "load"):
        loaded = inputs.load(plan["metric"])
        hashes = loaded.hashes()
        proved = model_report(loaded.spliced.model).as_json()
        others = OtherPairs()
        if not options.per_pair:
            shares = {"validation": options.validation, "test": options.test}
            given = options.other_examples, options.held_out, plan["metric"]
            judging = inputs.other_prompts(loaded.spliced.model, *given)
            loaded, others = inputs.parted(loaded, judging, **shares)
        folders = [target]
        if options.per_pair:
            folders = [RunFolder(target.folder / f"pair-{number:03}") for number in range(len(loaded.prompts))]
        for folder in folders:
            folder.refuse_unwritable()
        plan["patch_value"] = patch_value(options.patch, loaded.spliced, loaded.prompts, options.error)
        plan["inputs"] = {
            "task": inputs.name,
            "model": loaded.spliced.model.name,
            "seed": inputs.seed,
            "hashes": hashes,
        }
    for line in (loaded.left_out_in_words, loaded.answers_in_words):
        if line is not None:
            console.print(line, highlight=False)
    console.print(shown_prompt(loaded.spliced, loaded.prompts[0], len(loaded.prompts)))
    arguments = {**inputs.arguments(), **asdict(options)}
    with resumable(target.folder / CHUNKS, resume=options.resume) as store, ExitStack() as stack:
        if not options.per_pair:
            with console.status("trying the sites"), timed(seconds, "try sites"):
                plan["trial"] = _trial(options, loaded, others, plan)
            print_trial(console, plan["trial"])
        told = stack.enter_context(progress_bar(console, f"{len(loaded.prompts)} pair(s)", store))
        watch = plan["watch"] = StageWatch(None if options.per_pair else console, told, seconds, store)
        corpus = None if options.per_pair else _corpus(inputs, options, loaded.spliced.model)
        labelled = corpus if options.labels else None
        if labelled is not None:
            plan["after"] = {LABELS: _label_work(loaded, labelled, options)}
        runs = _runs(options, loaded, others, plan, corpus, progress_between(told, 0.0, 0.9))
        name = f"{inputs.name} on {loaded.model_in_words}"
        index = PairIndex(target.folder, name, loaded.spliced.model, target.page.name)
        for number, own in enumerate(folders):
            found = next(runs)
            watch.enters(None)
            title = f"{name}, pair {number}" if options.per_pair else name
            labels = None
            if labelled is not None and found.circuit.features:
                needed = watch.foretold.get(LABELS)
                left = options.budget - (time.monotonic() - since)
                if found.decision is not None and (needed or 0.0) > left:
                    console.print(_no_time_for_labels(needed, left, own))
                else:
                    watch.enters(LABELS, needed)
                    given = loaded.spliced, found.circuit, labelled
                    part = progress_between(told, 0.9, 1.0)
                    labels = label(*given, cache=_label_cache(target), memory=options.memory, progress=part)
                    watch.enters(None)
            about = {"title": title, "arguments": arguments, "hashes": hashes, "model": proved}
            about |= {"chunks": chunks_report(store), "expected": watch.expected}
            about |= {"left_out": loaded.left_out, "opening": loaded.opening}
            about["answers"] = {"in_words": loaded.answers_in_words, "per_pair": loaded.answers()}
            write_run(own, found, labels=labels, seconds=seconds, **about)
            print_found(console, found, own, title=title, rows=options.rows)
            if options.per_pair:
                index.add(found, loaded.prompts[number], own.folder.name)
    if options.per_pair:
        console.print(f"All pairs, with a link to the page of each: {index.page}", style="bold", highlight=False)


def _refuse_unreadable(inputs: FindInputs, options: FindOptions, target: "RunFolder") -> None:
    """Refuse, without a model, other files that cannot be read, and a cache of labels that cannot be written."""
    from attribution.prompts.pair_file import refuse_bad_pairs
    from circuits.labels.corpus import refuse_bad_text

    for split in inputs.other_splits(options.other_examples, options.held_out):
        if inputs.in_embedded_language:
            text_pairs(inputs.name, split, options.other_examples, inputs.seed)
    if options.held_out is not None:
        refuse_bad_pairs(options.held_out)
    if options.text is not None:
        refuse_bad_text(options.text)
    if options.labels:
        refuse_unwritable(_label_cache(target))


def _label_cache(target: "RunFolder") -> Path:
    return target.folder.parent / LABEL_CACHE


def _plan(options: FindOptions, seed: int) -> dict[str, Any]:
    """The arguments of `discover` that need no model; unknown or incompatible options are refused here."""
    refuse_unknown("method", options.method, (AUTO, *METHOD_NAMES))
    refuse_unknown("patch", options.patch, PATCH_NAMES)
    refuse_unknown("positions", options.positions, SCHEMES)
    if options.select is not None:
        refuse_unknown("select", options.select, SELECTIONS)
    if options.rank_by is not None:
        refuse_unknown("rank-by", options.rank_by, METHOD_NAMES)
    beside = () if options.beside == "none" else tuple(name.strip() for name in options.beside.split(","))
    for name in beside:
        refuse_unknown("beside", name, METHOD_NAMES)

    from attribution.methods.registry import refuse_points
    from attribution.prompts.metric_names import metric_named
    from circuits.discovery.measuring import refuse_verify
    from circuits.discovery.selection import Selection

    refuse_excluded(options.method, options.error, options.patch, options.metric)
    refuse_verify(options.method, options.verify)
    points = quadrature(options.points, options.rule, options.method)
    if points is not None:
        refuse_points(options.method)
    faithful = options.faithful
    if options.threshold is options.share is options.nodes is faithful is None:
        faithful = DEFAULT_FAITHFULNESS
    return {
        "metric": metric_named(options.metric),
        "method": options.method,
        "verify": options.verify,
        "memory": options.memory,
        "budget": options.budget,
        "error_mode": options.error,
        "points": points,
        "select": Selection(
            nodes=options.nodes,
            threshold=options.threshold,
            share=options.share,
            faithful=faithful,
            most=options.most,
            by=options.select,  # pyright: ignore[reportArgumentType]
            stable=options.keep_if_stable,
            drop=options.drop,
            seed=seed,
        ),
        "rank_by": options.rank_by,
        "compare": beside,
        "folds": options.folds,
        "resamples": options.resamples,
        "positions": options.positions,
        "least_edge": options.least_edge,
        "explained": options.explained,
    }


def _trial(options: FindOptions, loaded: Loaded, others: OtherPairs, plan: dict[str, Any]) -> "TrialOfSites | None":
    """What each kind of site lets through; None if there is one kind, or F is undefined, which the certificate says."""
    from attribution.models.site_names import kinds_of
    from circuits.selection.trial_of_sites import trial_of_sites

    if len(kinds_of(loaded.spliced.sites)) == 1:
        return None
    given = {name: plan[name] for name in ("patch_value", "error_mode", "positions", "memory")}
    try:
        return trial_of_sites(loaded.spliced, loaded.prompts, plan["metric"], others=others.validation, **given)
    except ValueError:
        return None


def _runs(
    options: FindOptions,
    loaded: Loaded,
    others: OtherPairs,
    plan: dict[str, Any],
    corpus: "Corpus | None",
    told: Callable[[float], None],
) -> "Iterator[Found]":
    """One result for all pairs, or one for each pair."""
    from circuits.discovery.discover import discover, discover_each

    if options.per_pair:
        yield from discover_each(loaded.spliced, loaded.prompts, progress=told, **plan)
        return
    texts = {} if corpus is None else {"general text": _texts(options, corpus)}
    yield discover(
        loaded.spliced,
        loaded.prompts,
        validation=others.validation,
        splits=others.judging,
        texts=texts,
        progress=told,
        **plan,
    )


def _texts(options: FindOptions, corpus: "Corpus") -> list[tuple[int, ...]]:
    """Token ids of the text on which the SAEs are judged."""
    pieces = [ids for ids in islice(corpus.pieces(), GENERAL_PIECES) if len(ids) > 1]
    if not pieces:
        raise ValueError(f"--text {options.text}: the file has no text of at least two tokens. Give another.")
    return pieces


def _corpus(inputs: Inputs, options: FindOptions, model: "LanguageModel") -> "Corpus | None":
    """The general text: the user's own; for the embedded model by default that of the embedded language."""
    from circuits.labels.corpus import corpus_from_file, embedded_corpus

    if options.text is not None:
        return corpus_from_file(options.text, model)
    return embedded_corpus(model) if inputs.embedded else None


def _label_work(loaded: Loaded, corpus: "Corpus", options: FindOptions) -> "Work":
    """What labels of the circuit's features will cost."""
    from circuits.discovery.stage_costs import EXPECTED_NODES
    from circuits.labels.label_cost import label_work

    return label_work(loaded.spliced, corpus, options.nodes or EXPECTED_NODES, options.memory)


def _no_time_for_labels(needed: float | None, left: float, own: "RunFolder") -> Text:
    about = "" if needed is None else f" They would take about {time_in_words(needed)}."
    short = f"{time_in_words(left)} of --budget are left" if left > 0 else "--budget is spent"
    return Text(f"No labels: {short}.{about} jumpwire labels --circuit {own.folder} makes them.")
