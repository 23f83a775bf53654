"""`jumpwire ablate`: change nodes and report what else changes; or test a circuit by knocking out its nodes."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from circuits.ablation.temperature import refuse_temperature
from circuits.commands.shared.choices import patch_value, refuse_unknown
from circuits.commands.shared.earlier_run import CircuitFile, refuse_unasked_code
from circuits.commands.shared.inputs import Inputs, Loaded
from circuits.commands.shared.options import (
    INTERVENED,
    METHOD,
    METRIC_HELP,
    METRIC_NAMES,
    OUTPUT,
    PATCH_HELP,
    PATCH_NAMES,
    MemoryOptions,
    RowsOptions,
    option,
    refuse_missing_file,
)
from circuits.terminal.progress import progress_bar
from graphs.files.whole_file import refuse_unwritable

if TYPE_CHECKING:
    from attribution.prompts.prompt_pairs import PromptPairs
    from attribution.runs.memory import Room
    from attribution.splice.edits import Operation
    from circuits.ablation.ablation import Outcome
    from circuits.ablation.edits import Ablation

ABLATION: Final = "Ablation"
REPORT: Final = "Report"


@dataclass(frozen=True)
class AblateOptions(RowsOptions, MemoryOptions):
    """What is done to which nodes, and what is reported; None where the default or the circuit's choice stands."""

    nodes: Annotated[
        list[str],
        typer.Argument(
            metavar="NODE",
            help="Nodes, as in blocks.2.hook_resid_post/117@verb (a feature), blocks.2.hook_resid_post/error or "
            "token@3; without @ at every position.",
        ),
    ] = field(default_factory=list)
    circuit: Annotated[
        str | None,
        option(ABLATION, "Instead: all features and errors of this circuit.json, or run of find.", metavar="FILE"),
    ] = None
    op: Annotated[
        str | None,
        option(
            ABLATION,
            "remove (default: set the nodes to their --patch value), keep-only (set every other node to it), set=V, "
            "add=V or scale=V.",
            metavar="OPERATION",
        ),
    ] = None
    test: Annotated[
        bool,
        option(
            ABLATION,
            "Knock out the nodes of --circuit one by one, and compare what happens with what the graph predicts.",
            "--test",
        ),
    ] = False
    text: Annotated[
        str | None, option(ABLATION, "Use this text as the prompt, instead of a task's pairs.", metavar="TEXT")
    ] = None
    error: Annotated[
        str | None,
        option(
            METHOD,
            "SAE errors downstream of the change: live (recomputed), frozen (as in the clean run) or zero. Default: "
            "those of the circuit, else live.",
            metavar="MODE",
        ),
    ] = None
    patch: Annotated[
        str | None,
        option(
            METHOD,
            f"{PATCH_HELP} Default: that of the circuit, else counterfactual; with --text zero.",
            metavar="VALUE",
        ),
    ] = None
    metric: Annotated[
        str | None,
        option(METHOD, f"{METRIC_HELP} Default: that of the circuit, else {METRIC_NAMES[0]}.", metavar="METRIC"),
    ] = None
    generate: Annotated[int, option(REPORT, "Tokens to generate before and after the change.", min=0)] = 0
    temperature: Annotated[
        float, option(REPORT, "Temperature of generation; 0 takes the likeliest token. Drawn with --seed.", min=0)
    ] = 0.0
    text_file: Annotated[
        str | None,
        option(
            REPORT,
            "General text to measure the side effect on, a document a line. Default: text of the embedded language for "
            "the embedded model, else none.",
            metavar="FILE",
        ),
    ] = None
    per_pair: Annotated[bool, option(OUTPUT, "Print every prompt.", "--per-pair")] = False
    rows: Annotated[int, option(OUTPUT, "Rows of the printed tables.", min=1)] = 10
    out: Annotated[
        str | None,
        option(OUTPUT, "Folder for the file. Default: that of the circuit, or out/<task>-ablate.", metavar="FOLDER"),
    ] = None

    def __post_init__(self) -> None:
        if bool(self.nodes) == (self.circuit is not None):
            raise ValueError(
                "Name nodes, as in blocks.2.hook_resid_post/117@verb, or give --circuit FILE: one of them."
            )
        if self.test and (self.circuit is None or self.op or self.text is not None or self.generate):
            raise ValueError("--test knocks out the nodes of --circuit one by one: give no --op, --text or --generate.")
        refuse_missing_file("--text-file", self.text_file)
        refuse_temperature(self.temperature, "--temperature")
        if self.temperature and not self.generate:
            raise ValueError("--temperature belongs to --generate.")

    def settled(self, found: CircuitFile | None) -> "AblateOptions":
        """With every default filled in: from the circuit's measurement, if a circuit is given."""
        from attribution.prompts.metric_names import metric_named

        measured = None if found is None else found.circuit.measurement
        error = "live" if measured is None else {"path": "frozen"}.get(measured.error_mode, measured.error_mode)
        patch = "zero" if self.text is not None else "counterfactual" if measured is None else measured.patch_value
        metric = METRIC_NAMES[0] if measured is None else measured.metric
        if found is not None:
            refuse_unasked_code(found.path, metric, self.metric)
        settled = replace(self, error=self.error or error, patch=self.patch or patch, metric=self.metric or metric)
        refuse_unknown("error", str(settled.error), INTERVENED)
        refuse_unknown("patch", str(settled.patch), PATCH_NAMES)
        metric_named(str(settled.metric))
        if self.text is not None and settled.patch == "counterfactual":
            raise ValueError("--text has no patch prompt: use --patch zero or mean.")
        return settled


def ablate(console: Console, inputs: Inputs, options: AblateOptions) -> None:
    """Ablate or steer features, SAE errors or a whole circuit, and see what changes: tokens, features, other text."""
    found = None if options.circuit is None else CircuitFile.read(options.circuit)
    asked = inputs.task, inputs.pairs, inputs.prompt, inputs.split, inputs.examples, options.text
    chosen = sum(given is not None for given in asked)
    if options.text is not None and chosen > 1:
        raise ValueError("--text is the only prompt: give no --task, --pairs, --prompt, --split or --examples.")
    inputs = inputs if found is None else found.completed(inputs)
    with console.status("loading"):
        inputs.refuse_unreadable()

        from circuits.ablation.node_names import parts_of
        from circuits.ablation.operation_names import parse_operation
        from circuits.commands.shared.run_files import RunFolder
        from circuits.labels.corpus import refuse_bad_text
        from circuits.terminal.shown_prompt import shown_prompt

        options = options.settled(found)
        operation = parse_operation(options.op or "remove")
        target = RunFolder(_folder(inputs, options))
        refuse_unwritable(target.folder)
        if options.text_file is not None:
            refuse_bad_text(options.text_file)
        for name in options.nodes:
            parts_of(name)
    with console.status("loading the model and its SAEs"):
        loaded = _load(inputs, options)
        if found is not None and not chosen:
            loaded = found.measured(loaded)
        hashes = loaded.hashes()
        if found is not None:
            found.refuse_other_weights(hashes)
    console.print(shown_prompt(loaded.spliced, loaded.prompts[0], len(loaded.prompts)))
    arguments = {**inputs.arguments(), **asdict(options), "op": operation.label}
    about = {"arguments": arguments, "hashes": hashes}
    if options.test:
        assert found is not None
        _test(console, loaded, options, found, target.causal_test, about)
    else:
        ablation = _ablation(loaded, options, found, operation)
        found_on = found.pairs_found_on(loaded.spliced) if found is not None and chosen else None
        _ablate(console, inputs, loaded, options, ablation, found_on, target.ablation, about)


def _folder(inputs: Inputs, options: AblateOptions) -> Path:
    if options.out is not None:
        return Path(options.out)
    if options.circuit is not None:
        path = Path(options.circuit)
        return path if path.is_dir() else path.parent
    return Path("out") / f"{'text' if options.text is not None else inputs.name}-ablate"


def _load(inputs: Inputs, options: AblateOptions) -> Loaded:
    from attribution.prompts.metric_names import metric_named
    from circuits.ablation.text_prompt import text_prompt

    if options.text is None:
        return inputs.load(metric_named(str(options.metric)))
    spliced = inputs.load_spliced()
    return Loaded(spliced, text_prompt(options.text, spliced.model))


def _ablation(loaded: Loaded, options: AblateOptions, found: CircuitFile | None, operation: "Operation") -> "Ablation":
    from attribution.prompts.position_names import position_names
    from circuits.ablation.edits import Ablation
    from circuits.ablation.node_names import circuit_names, parse_nodes

    spliced, prompts = loaded.spliced, loaded.prompts
    if found is None:
        names = parse_nodes(options.nodes, spliced, position_names(prompts))
    else:
        names = tuple(name for name in circuit_names(found.circuit, spliced) if not name.is_token)
    assert options.patch is not None
    reference = patch_value(options.patch, spliced, prompts, options.error)
    ablation = Ablation(names, operation, reference, options.error)  # pyright: ignore[reportArgumentType]
    if found is None:
        ablation.refuse_idle()
    return ablation


def _test(
    console: Console, loaded: Loaded, options: AblateOptions, found: CircuitFile, path: Path, about: dict[str, Any]
) -> None:
    from attribution.prompts.metric_names import metric_named
    from circuits.ablation.ablation_file import causal_test_data, write_ablation
    from circuits.ablation.causal_tests import causal_tests
    from circuits.commands.ablate_output import print_tests

    assert options.patch is not None
    assert options.metric is not None
    given = loaded.spliced, loaded.prompts, metric_named(options.metric), found.circuit, found.found_on(loaded.spliced)
    with progress_bar(console, f"knocking out nodes on {len(loaded.prompts)} pair(s)") as told:
        tests = causal_tests(
            *given,
            error_mode=options.error,  # pyright: ignore[reportArgumentType]
            patch_value=patch_value(options.patch, loaded.spliced, loaded.prompts, options.error),
            room=_room(loaded, options),
            progress=told,
        )
    first, *more = map(causal_test_data, tests)
    path = write_ablation(
        path, {**about, "causal_test": first, **({"causal_test_on_other_pairs": more[0]} if more else {})}
    )
    print_tests(console, tests, path, rows=options.rows)


def _room(loaded: Loaded, options: AblateOptions) -> "Room":
    """Batch sizes that fit into --memory.

    Raises:
        ValueError: not a single prompt fits.
    """
    from attribution.runs.memory import Room

    given = loaded.spliced, loaded.prompts, options.error, options.memory
    room = Room.of(*given)  # pyright: ignore[reportArgumentType]
    room.refuse_if_too_small()
    return room


def _alone(
    loaded: Loaded, options: AblateOptions, ablation: "Ablation", outcome: "Outcome", room: "Room"
) -> float | None:
    """F of the nodes kept where the layers below the boundary are at their patch value too; None without a boundary."""
    from attribution.prompts.metric_names import metric_named
    from circuits.ablation.ablation import ablate as run_ablation

    if outcome.from_layer is None or outcome.faithfulness is None:
        return None
    assert options.patch is not None
    assert options.metric is not None
    whole, prompts = loaded.spliced.whole, loaded.prompts
    everywhere = replace(ablation, patch_value=patch_value(options.patch, whole, prompts, options.error))
    given = whole, prompts, metric_named(options.metric), everywhere
    return run_ablation(*given, batch_size=room.pairs("exact")).faithfulness


def _ablate(
    console: Console,
    inputs: Inputs,
    loaded: Loaded,
    options: AblateOptions,
    ablation: "Ablation",
    found_on: "PromptPairs | None",
    path: Path,
    about: dict[str, Any],
) -> None:
    from attribution.effects.measurement import prepare
    from attribution.prompts.metric_names import metric_named
    from attribution.prompts.position_names import position_names
    from attribution.runs.progress import progress_between
    from circuits.ablation.ablation import ablate as run_ablation
    from circuits.ablation.ablation_file import outcome_data, side_effect_data, write_ablation
    from circuits.ablation.generation import continue_prompt
    from circuits.ablation.side_effect import BYTES_OF_A_LOGIT, side_effect
    from circuits.commands.ablate_output import Report, print_ablation
    from circuits.labels.general_text import general_text

    assert options.metric is not None
    spliced, prompts, metric = loaded.spliced, loaded.prompts, metric_named(options.metric)
    batch = prompts.batch([0], spliced.model.device, metric.positions)
    situation = prepare(spliced, batch, metric, ablation.error_mode, ablation.patch_value)
    room, effect, texts = _room(loaded, options), None, None
    with progress_bar(console, f"{ablation.operation.label} on {len(prompts)} prompt(s)") as told:
        outcome = run_ablation(
            spliced,
            prompts,
            metric,
            ablation,
            found_on=found_on,
            batch_size=room.pairs("exact"),
            shifts=options.rows,
            progress=lambda share: told(0.4 * share),
        )
        source, documents = general_text(options.text_file, spliced, embedded=inputs.embedded)
        if source is not None:
            size = room.texts(spliced, max(map(len, documents), default=1), 16, BYTES_OF_A_LOGIT)
            told_here = progress_between(told, 0.4, 0.8)
            effect = side_effect(situation, ablation, documents, batch_size=size, progress=told_here)
        if options.generate:
            texts = continue_prompt(
                situation,
                position_names(prompts)[0],
                ablation,
                new_tokens=options.generate,
                temperature=options.temperature,
                seed=inputs.seed,
                progress=lambda share: told(0.8 + 0.2 * share),
            )
    alone = _alone(loaded, options, ablation, outcome, room)
    content = {
        **about,
        **outcome_data(outcome),
        "faithfulness_alone": alone,
        "side_effect": side_effect_data(effect, source),
    }
    path = write_ablation(path, {**content, "generated": None if texts is None else asdict(texts)})
    report = Report(outcome, effect, source, texts, prompts, spliced.model, alone)
    name = "text" if options.text is not None else inputs.name
    print_ablation(console, report, path, title=f"{name} on {loaded.model_in_words}", per_pair=options.per_pair)
