"""The command line: `jumpwire find`. Heavy imports wait until a command runs, so that help is instant."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from attribution.language_model import LanguageModel
    from attribution.patch_values import PatchValue
    from attribution.prompt_pairs import PromptPairs
    from attribution.quadrature import Quadrature
    from attribution.saes import SAE
    from attribution.splice import SplicedModel

PATCHES = ("counterfactual", "zero", "mean")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Attribution and circuit discovery over SAE features that can be trusted.",
)


@app.callback()
def _main() -> None:
    """Attribution and circuit discovery over SAE features that can be trusted."""


@app.command()
def find(
    task: Annotated[str | None, typer.Option(help="agreement (default), pronoun, indirect_object or closing.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="JSON file with prompt pairs of your own.")] = None,
    split: Annotated[str | None, typer.Option(help="train (default), held_out, out_of_distribution.")] = None,
    examples: Annotated[int | None, typer.Option(min=1, help="Pairs used. Default: 8 of a task, a whole file.")] = None,
    model: Annotated[str | None, typer.Option(help="Model name or Hugging Face folder. Default: embedded.")] = None,
    saes: Annotated[str | None, typer.Option(help="Folder of SAELens folders, or an embedded set.")] = None,
    method: Annotated[str, typer.Option(help="exact, atp, atp-star, ig, ig-input or activation-difference.")] = "exact",
    error: Annotated[
        str | None, typer.Option(help="SAE errors: live, frozen, zero or path. Default: live; for ig-input path.")
    ] = None,
    patch: Annotated[str, typer.Option(help="What nodes are set to: counterfactual, zero or mean.")] = "counterfactual",
    metric: Annotated[
        str, typer.Option(help="logit_difference, log_probability or kl_divergence.")
    ] = "logit_difference",
    points: Annotated[int | None, typer.Option(min=1, help="Points of the path (ig, ig-input). Default: 5.")] = None,
    rule: Annotated[str | None, typer.Option(help="midpoint (default) or gauss_legendre (ig, ig-input).")] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes the circuit keeps.")] = 50,
    splice_bos: Annotated[bool, typer.Option("--splice-bos", help="Splice the BOS position too.")] = False,
    rows: Annotated[int, typer.Option(min=1, help="Nodes in the printed table.")] = 15,
    out: Annotated[Path | None, typer.Option(help="Folder for the files. Default: out/<task or file>.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the task's prompts.")] = 0,
) -> None:
    """Find a circuit: the effect of every feature, error and token on a task, and the strongest of them."""
    arguments = {name: str(v) if isinstance(v, Path) else v for name, v in locals().items()}
    with _errors_for_people():
        _find(Console(), arguments)


def main() -> None:
    """Entry point of the `jumpwire` command."""
    app()


def _find(console: Console, arguments: dict[str, Any]) -> None:
    task, pairs_file = arguments["task"], arguments["pairs"]
    if task is not None and pairs_file is not None:
        raise ValueError("Give --task or --pairs, not both.")
    task = task or (None if pairs_file else "agreement")
    name: str = task or Path(pairs_file or "").stem
    if pairs_file is not None and not Path(pairs_file).is_file():
        raise FileNotFoundError(f"--pairs {pairs_file}: no such file.")
    if arguments["model"] is not None and arguments["saes"] is None:
        raise ValueError("--model needs --saes: SAEs trained on that model.")

    if pairs_file is not None and arguments["split"] is not None:
        raise ValueError("--split belongs to --task; a file of pairs has no splits.")
    seconds: dict[str, float] = {}
    with console.status("loading"), _timed(seconds, "import"):
        from attribution.methods import METHODS
        from attribution.metric import METRICS
        from attribution.splice import SplicedModel
        from circuits.discover import discover
        from circuits.run_files import RunFolder, write_run
        from circuits.terminal import print_found

        _quiet_libraries()
        points = _points(arguments)
        for option, known in (("method", METHODS), ("metric", METRICS), ("patch", PATCHES)):
            if arguments[option] not in known:
                raise ValueError(f"No {option} {arguments[option]!r}. Choose one of: {', '.join(known)}.")
        target = RunFolder(Path(arguments["out"] or Path("out") / name))
        target.make()
    with console.status("loading the model and its SAEs"), _timed(seconds, "load"):
        language_model, found_saes = _load(arguments["model"], arguments["saes"])
        prompts = _prompts(language_model, task, pairs_file, arguments)
        spliced = SplicedModel(language_model, found_saes, splice_bos=arguments["splice_bos"])
        hashes = _hashes(spliced)
    with (
        _bar(console, f"{arguments['method']} on {len(prompts)} pair(s)") as told,
        _timed(seconds, "measure"),
    ):
        found = discover(
            spliced,
            prompts,
            METRICS[arguments["metric"]],
            method=arguments["method"],
            error_mode=arguments["error"],
            patch_value=_patch_value(arguments["patch"], spliced, prompts, arguments["error"]),
            points=points,
            nodes=arguments["nodes"],
            progress=told,
            inputs={"task": name, "model": language_model.name, "seed": arguments["seed"], "hashes": hashes},
        )
    title = f"{name} on {language_model.name}"
    write_run(target, found, title=title, arguments=arguments, hashes=hashes, seconds=seconds)
    print_found(console, found, target, title=title, rows=arguments["rows"])


def _load(model: str | None, saes: str | None) -> "tuple[LanguageModel, dict[str, SAE]]":
    from attribution.language_model import LanguageModel
    from attribution.saes import load_saes
    from circuits.embedded.load import DEFAULT_SAES, embedded_model, embedded_saes, sae_sets

    if model is None and (saes is None or saes in sae_sets()):
        found = embedded_saes(saes or DEFAULT_SAES)
    elif saes is not None and Path(saes).is_dir():
        found = load_saes(Path(saes))
    else:
        sets = f" Embedded sets: {', '.join(sae_sets())}." if model is None else ""
        raise FileNotFoundError(f"--saes {saes}: no such folder.{sets}")
    return (embedded_model() if model is None else LanguageModel.load(model)), found


def _prompts(
    model: "LanguageModel", task: str | None, pairs_file: str | None, arguments: dict[str, Any]
) -> "PromptPairs":
    from attribution.prompt_pairs import PromptPairs
    from circuits.tasks.prompts import prompt_pairs

    if pairs_file is not None:
        return PromptPairs.from_json(pairs_file, model).head(arguments["examples"])
    assert task is not None
    return prompt_pairs(task, arguments["split"] or "train", arguments["examples"] or 8, arguments["seed"], model)


def _patch_value(name: str, spliced: "SplicedModel", prompts: "PromptPairs", error_mode: str | None) -> "PatchValue":
    from attribution.patch_values import counterfactual, mean_over, zero

    if name == "mean":
        both = [ids for pair in prompts for ids in (pair.clean_ids, pair.patch_ids)]
        return mean_over(spliced, both, error_mode="zero" if error_mode == "zero" else "live")
    return zero if name == "zero" else counterfactual


def _points(arguments: dict[str, Any]) -> "Quadrature | None":
    """The quadrature asked for; None where neither points nor rule is given."""
    from attribution.quadrature import RULES

    count, rule = arguments["points"], arguments["rule"]
    if count is None and rule is None:
        return None
    rule = rule or "midpoint"
    if rule not in RULES:
        raise ValueError(f"No rule {rule!r}. Choose one of: {', '.join(RULES)}.")
    return RULES[rule](5 if count is None else count)


def _hashes(spliced: "SplicedModel") -> dict[str, Any]:
    return {
        "model": spliced.model.digest(),
        "saes": {site: sae.digest() for site, sae in spliced.saes.items()},
    }


def _quiet_libraries() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - start


@contextmanager
def _bar(console: Console, label: str) -> Iterator[Any]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(label, total=1.0)
        yield lambda share: progress.update(bar, completed=share)


@contextmanager
def _errors_for_people() -> Iterator[None]:
    """Wrong input ends with one sentence and exit code 2, an interrupt with 130; a bug keeps its traceback."""
    try:
        yield
    except (KeyError, IndexError):
        raise
    except (ValueError, LookupError, OSError) as error:
        Console(stderr=True).print(Text.assemble(("error ", "bold red"), str(error)))
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        Console(stderr=True).print("Interrupted. Nothing was measured to the end; files of earlier runs are untouched.")
        raise typer.Exit(130) from None
