"""`jumpwire find`: measure every node, keep the strongest, join and certify them, write the run."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from circuits.commands.inputs import Inputs, Loaded
from circuits.terminal.console import progress_bar, quiet_libraries, timed
from circuits.terminal.resumable import chunks_report, resumable

if TYPE_CHECKING:
    from attribution.effects.quadrature import Quadrature
    from attribution.models.language_model import LanguageModel
    from attribution.prompts.prompt_pairs import PromptPairs
    from attribution.runs.chunk_store import ChunkStore
    from attribution.splice.patch_values import PatchValue
    from attribution.splice.spliced_model import SplicedModel
    from circuits.commands.run_files import RunFolder
    from circuits.discovery.deciding import Decision
    from circuits.discovery.discover import Found
    from circuits.labels.corpus import Corpus
    from graphs import Labels

DEFAULT_FAITHFULNESS: Final = 0.85
"""On the circuit's own prompts, before pruning."""
GENERAL_PIECES: Final = 32
"""Pieces of general text on which the SAEs are judged."""
LABEL_CACHE: Final = "label_cache"
"""Folder beside the run's that remembers labels; by default that of `jumpwire labels`."""
CHUNKS: Final = "chunks"
"""Folder in the run's that keeps finished work; it may be deleted."""

PATCHES = ("counterfactual", "zero", "mean")


@dataclass(frozen=True)
class FindOptions:
    """How effects are measured, which nodes are kept, on what the circuit is judged; None where a default stands."""

    method: str = "auto"
    error: str | None = None
    patch: str = "counterfactual"
    metric: str = "logit_difference"
    points: int | None = None
    rule: str | None = None
    budget: float = 300.0
    verify: int | None = None
    memory: int | None = None
    nodes: int | None = None
    threshold: float | None = None
    share: float | None = None
    faithful: float | None = None
    rank_by: str | None = None
    least_edge: float = 0.002
    per_pair: bool = False
    held_out: str | None = None
    other_examples: int = 100
    text: str | None = None
    labels: bool = True
    explained: int = 10
    resume: bool = True
    rows: int = 15
    out: str | None = None

    def __post_init__(self) -> None:
        for name, path in (("--held-out", self.held_out), ("--text", self.text)):
            if path is not None and not Path(path).is_file():
                raise FileNotFoundError(f"{name} {path}: no such file.")


def find(console: Console, inputs: Inputs, options: FindOptions) -> None:
    """The whole command."""
    seconds: dict[str, float] = {}
    with console.status("loading"), timed(seconds, "import"):
        from attribution.effects.measurement import within
        from circuits.commands.find_output import print_found
        from circuits.commands.run_files import RunFolder, write_run

        quiet_libraries()
        plan = _plan(options)
        target = RunFolder(Path(options.out or Path("out") / inputs.name))
        target.make()
    with console.status("loading the model and its SAEs"), timed(seconds, "load"):
        loaded = inputs.load()
        plan["patch_value"] = patch_value(options.patch, loaded.spliced, loaded.prompts, options.error)
        plan["inputs"] = {
            "task": inputs.name,
            "model": loaded.spliced.model.name,
            "seed": inputs.seed,
            "hashes": dict(loaded.hashes),
        }
    arguments = {**inputs.arguments(), **asdict(options)}
    with resumable(target.folder / CHUNKS, resume=options.resume) as store, ExitStack() as stack:
        with console.status("estimating the cost"), timed(seconds, "decide"):
            decision = _decide(options, loaded, plan)
        if decision is not None:
            _print_decision(console, decision, store)
        label = f"{plan['method']} on {len(loaded.prompts)} pair(s)"
        told = stack.enter_context(progress_bar(console, label, store))
        runs = _runs(inputs, options, loaded, plan, within(told, 0.0, 0.9))
        for number in range(len(loaded.prompts) if options.per_pair else 1):
            with timed(seconds, "measure"):
                found = next(runs)
            title = f"{inputs.name} on {loaded.spliced.model.name}" + (f", pair {number}" if options.per_pair else "")
            own = RunFolder(target.folder / f"pair-{number:03}") if options.per_pair else target
            own.make()
            with timed(seconds, "label"):
                labels = _labels(inputs, options, loaded, found, target, within(told, 0.9, 1.0))
            about = {"title": title, "arguments": arguments, "hashes": loaded.hashes}
            about |= {"chunks": chunks_report(store), "decision": decision}
            write_run(own, found, labels=labels, seconds=seconds, **about)
            print_found(console, found, own, title=title, rows=options.rows)


def _plan(options: FindOptions) -> dict[str, Any]:
    """The arguments of `discover` that need no model; refused here if there is no such choice."""
    from attribution.methods.registry import METHODS
    from attribution.prompts.metrics import METRICS
    from circuits.commands.method_options import refuse_excluded
    from circuits.discovery.deciding import AUTO
    from circuits.discovery.measuring import refuse_verify
    from circuits.discovery.selection import Selection

    known = {"method": (AUTO, *METHODS), "metric": tuple(METRICS), "patch": PATCHES}
    refuse_unknown({name: getattr(options, name) for name in known}, known)
    if options.rank_by is not None:
        refuse_unknown({"rank-by": options.rank_by}, {"rank-by": tuple(METHODS)})
    refuse_excluded(options.method, options.error, options.patch, options.metric)
    refuse_verify(options.method, options.verify)
    faithful = options.faithful
    if options.threshold is options.share is options.nodes is faithful is None:
        faithful = DEFAULT_FAITHFULNESS
    return {
        "metric": METRICS[options.metric],
        "method": options.method,
        "verify": options.verify,
        "memory": options.memory,
        "error_mode": options.error,
        "points": quadrature(options.points, options.rule, options.method),
        "select": Selection(options.nodes, options.threshold, options.share, faithful),
        "rank_by": options.rank_by,
        "least_edge": options.least_edge,
        "explained": options.explained,
    }


def _decide(options: FindOptions, loaded: Loaded, plan: dict[str, Any]) -> "Decision | None":
    """What `auto` comes to, written into the plan; None for another method."""
    from circuits.discovery.deciding import AUTO, decide
    from circuits.discovery.discover import patching_mode
    from circuits.discovery.measuring import Question

    if options.method != AUTO:
        return None
    mode = patching_mode(AUTO, plan["error_mode"])
    question = Question(loaded.spliced, loaded.prompts, plan["metric"], mode, plan["patch_value"], options.memory)
    decision = decide(question, options.budget, options.verify)
    if options.per_pair and decision.verify is not None and options.verify is None:
        decision = replace(decision, verify=max(1, decision.verify // len(loaded.prompts)))
    plan |= {"method": decision.method, "verify": decision.verify}
    return decision


def _print_decision(console: Console, decision: "Decision", store: "ChunkStore") -> None:
    from circuits.discovery.deciding import STAGE

    earlier = store.tallies[STAGE].reused > 0
    note = f" (Decided when the run in {store.folder} began; --no-resume decides again.)" if earlier else ""
    console.print(decision.sentence + note, highlight=False)


def _runs(
    inputs: Inputs, options: FindOptions, loaded: Loaded, plan: dict[str, Any], told: Callable[[float], None]
) -> "Iterator[Found]":
    from circuits.discovery.discover import discover, discover_each

    if options.per_pair:
        yield from discover_each(loaded.spliced, loaded.prompts, progress=told, **plan)
        return
    model = loaded.spliced.model
    splits = inputs.splits(model, options.other_examples, options.held_out)
    texts = _texts(inputs, options, model)
    yield discover(loaded.spliced, loaded.prompts, splits=splits, texts=texts, progress=told, **plan)


def _texts(inputs: Inputs, options: FindOptions, model: "LanguageModel") -> dict[str, list[tuple[int, ...]]]:
    """The first pieces of general text."""
    corpus = _corpus(inputs, options, model)
    if corpus is None:
        return {}
    pieces = [ids for ids in islice(corpus.pieces(), GENERAL_PIECES) if len(ids) > 1]
    if not pieces:
        raise ValueError(f"--text {options.text}: there is no text of at least two tokens in it.")
    return {"general text": pieces}


def _corpus(inputs: Inputs, options: FindOptions, model: "LanguageModel") -> "Corpus | None":
    """General text: the user's own, else that of the embedded language for the embedded model."""
    from circuits.labels.corpus import corpus_from_file, embedded_corpus

    if options.text is not None:
        return corpus_from_file(options.text, model)
    return embedded_corpus(model) if inputs.model is None else None


def _labels(
    inputs: Inputs,
    options: FindOptions,
    loaded: Loaded,
    found: "Found",
    target: "RunFolder",
    told: Callable[[float], None],
) -> "Labels | None":
    """What the circuit's features are, if there is text to read them on; not of a circuit for every pair."""
    from circuits.commands.circuit_labels import circuit_labels

    corpus = _corpus(inputs, options, loaded.spliced.model) if options.labels and not options.per_pair else None
    if corpus is None:
        return None
    cache = target.folder.parent / LABEL_CACHE
    return circuit_labels(loaded.spliced, found.circuit, corpus, cache=cache, progress=told)


def refuse_unknown(chosen: dict[str, str], known: dict[str, tuple[str, ...]]) -> None:
    """A ValueError for the first choice that does not exist; it lists what does."""
    for name, choices in known.items():
        if chosen[name] not in choices:
            raise ValueError(f"No {name} {chosen[name]!r}. Choose one of: {', '.join(choices)}.")


def patch_value(name: str, spliced: "SplicedModel", prompts: "PromptPairs", error_mode: str | None) -> "PatchValue":
    """What nodes are set to, by its name in `PATCHES`."""
    from attribution.splice.patch_values import counterfactual, mean_over, zero

    if name == "mean":
        both = [ids for pair in prompts for ids in (pair.clean_ids, pair.patch_ids)]
        return mean_over(spliced, both, error_mode="zero" if error_mode == "zero" else "live")
    return zero if name == "zero" else counterfactual


def quadrature(points: int | None, rule: str | None, method: str) -> "Quadrature | None":
    """The quadrature asked for; None where neither points nor rule is given."""
    from attribution.effects.quadrature import RULES

    if points is None and rule is None:
        return None
    chord = method == "chord-ig"
    rule = rule or ("gauss_legendre" if chord else "midpoint")
    if rule not in RULES:
        raise ValueError(f"No rule {rule!r}. Choose one of: {', '.join(RULES)}.")
    return RULES[rule]((10 if chord else 5) if points is None else points)
