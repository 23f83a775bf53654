"""`jumpwire ablate`: change nodes, and print what else changes; or test a circuit by knocking out its nodes."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from circuits.commands.ablate_options import AblateOptions
from circuits.commands.find import patch_value
from circuits.commands.inputs import Inputs, Loaded
from circuits.terminal.console import progress_bar, quiet_libraries

if TYPE_CHECKING:
    from attribution.splice.spliced_model import SplicedModel
    from circuits.ablation.edits import Ablation
    from circuits.commands.ablate_inputs import CircuitFile

GENERAL_DOCUMENTS, GENERAL_SEED = 64, 2
"""Of the embedded language; the recipe trained neither model nor SAEs on this seed."""


def ablate(console: Console, inputs: Inputs, options: AblateOptions) -> None:
    """The whole command."""
    with console.status("loading"):
        from circuits.commands.ablate_inputs import CircuitFile, parse_operation
        from circuits.commands.run_files import RunFolder

        quiet_libraries()
        found = None if options.circuit is None else CircuitFile.read(options.circuit)
        if options.text is not None and (inputs.task, inputs.pairs, inputs.split, inputs.examples) != (None,) * 4:
            raise ValueError("--text stands by itself: give no --task, --pairs, --split or --examples with it.")
        inputs = inputs if found is None else found.completed(inputs)
        options = options.settled(found)
        operation = parse_operation(options.op or "remove")
        target = RunFolder(_folder(inputs, options))
        target.make()
    with console.status("loading the model and its SAEs"):
        loaded = _load(inputs, options)
        if found is not None:
            assert options.circuit is not None
            found.refuse_other_weights(dict(loaded.hashes), options.circuit)
    arguments = {**inputs.arguments(), **asdict(options), "op": operation.label}
    about = {"arguments": arguments, "hashes": dict(loaded.hashes)}
    if options.test:
        assert found is not None
        _test(console, loaded, options, found, target.causal_test, about)
    else:
        ablation = _ablation(loaded, options, found, operation)
        _ablate(console, inputs, loaded, options, ablation, target.ablation, about)


def _folder(inputs: Inputs, options: AblateOptions) -> Path:
    if options.out is not None:
        return Path(options.out)
    if options.circuit is not None:
        path = Path(options.circuit)
        return path if path.is_dir() else path.parent
    return Path("out") / f"{'text' if options.text is not None else inputs.name}-ablate"


def _load(inputs: Inputs, options: AblateOptions) -> Loaded:
    from circuits.commands.ablate_inputs import text_prompt

    if options.text is None:
        return inputs.load()
    spliced = inputs.load_spliced()
    return inputs.with_prompts(spliced, text_prompt(options.text, spliced.model))


def _ablation(loaded: Loaded, options: AblateOptions, found: "CircuitFile | None", operation: Any) -> "Ablation":
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
    console: Console, loaded: Loaded, options: AblateOptions, found: "CircuitFile", path: Path, about: dict[str, Any]
) -> None:
    from attribution.prompts.metrics import METRICS
    from circuits.ablation.ablation_file import test_data, write_ablation
    from circuits.ablation.causal_test import causal_test
    from circuits.commands.ablate_output import print_test

    assert options.patch is not None
    assert options.metric is not None
    with progress_bar(console, f"knocking out nodes on {len(loaded.prompts)} pair(s)") as told:
        test = causal_test(
            loaded.spliced,
            loaded.prompts,
            METRICS[options.metric],
            found.circuit,
            error_mode=options.error,  # pyright: ignore[reportArgumentType]
            patch_value=patch_value(options.patch, loaded.spliced, loaded.prompts, options.error),
            progress=told,
        )
    write_ablation(path, {**about, "causal_test": test_data(test)})
    print_test(console, test, len(loaded.prompts), path, rows=options.rows)


def _ablate(
    console: Console,
    inputs: Inputs,
    loaded: Loaded,
    options: AblateOptions,
    ablation: "Ablation",
    path: Path,
    about: dict[str, Any],
) -> None:
    from attribution.effects.measurement import prepare
    from attribution.prompts.metrics import METRICS
    from attribution.prompts.position_names import position_names
    from circuits.ablation.ablation import ablate as run_ablation
    from circuits.ablation.ablation_file import outcome_data, side_effect_data, write_ablation
    from circuits.ablation.generated_text import before_and_after
    from circuits.ablation.side_effect import side_effect
    from circuits.commands.ablate_output import Report, print_ablation

    assert options.metric is not None
    spliced, prompts, metric = loaded.spliced, loaded.prompts, METRICS[options.metric]
    batch = prompts.batch([0], spliced.model.device)
    situation = prepare(spliced, batch, metric, ablation.error_mode, ablation.patch_value)
    effect = texts = None
    with progress_bar(console, f"{ablation.operation.label} on {len(prompts)} prompt(s)") as told:
        outcome = run_ablation(
            spliced, prompts, metric, ablation, shifts=options.rows, progress=lambda share: told(0.4 * share)
        )
        source, documents = _general_text(inputs, options, spliced)
        if source is not None:
            effect = side_effect(situation, ablation, documents, progress=lambda share: told(0.4 + 0.4 * share))
        if options.generate:
            texts = before_and_after(
                situation,
                position_names(prompts)[0],
                ablation,
                new_tokens=options.generate,
                temperature=options.temperature,
                seed=inputs.seed,
                progress=lambda share: told(0.8 + 0.2 * share),
            )
    content = {**about, **outcome_data(outcome), "side_effect": side_effect_data(effect, source)}
    write_ablation(path, {**content, "generated": None if texts is None else asdict(texts)})
    report = Report(outcome, effect, source, texts, prompts, spliced.model)
    name = "text" if options.text is not None else inputs.name
    print_ablation(console, report, path, title=f"{name} on {spliced.model.name}", per_pair=options.per_pair)


def _general_text(
    inputs: Inputs, options: AblateOptions, spliced: "SplicedModel"
) -> tuple[str | None, list[list[int]]]:
    """Where the general text is from, and its documents; None where there is none for this model."""
    from circuits.ablation.side_effect import documents_of
    from circuits.embedded.language import documents

    if options.text_file is not None:
        return options.text_file, documents_of(Path(options.text_file).read_text(encoding="utf-8"), spliced)
    if inputs.model is None:
        return "the embedded language", documents_of("\n".join(documents(GENERAL_DOCUMENTS, GENERAL_SEED)), spliced)
    return None, []
