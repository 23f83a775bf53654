"""Options that several commands share, and how options are declared.

A command is a function of frozen dataclasses; every field of them is an option. The field's name is the flag's name,
its annotation the type and the help, its default the default:

    nodes: Annotated[int | None, option(CIRCUIT, "Keep this many nodes.", min=1)] = None     --nodes INTEGER

`app.py` turns such functions into commands. An option of one command is a field in that command's file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeVar

import typer

from circuits.commands.shared.choices import refuse_unknown
from circuits.embedded.sets import EMBEDDED, sae_sets
from circuits.tasks.any_model.registry import ANY_SPLITS, ANY_TASKS
from circuits.tasks.registry import EVERY_SPLIT, EVERY_TASK
from circuits.tasks.templates import SPLITS, TASKS
from circuits.terminal.amounts import bytes_of
from circuits.terminal.layer_ranges import layers_of

INPUTS: Final = "Model and prompts"
METHOD: Final = "Method"
CIRCUIT: Final = "Circuit"
EVIDENCE: Final = "Evidence and labels"
OUTPUT: Final = "Output"
"""The panels of a command's help."""

METHOD_NAMES: Final = ("exact", "atp", "atp-star", "ig", "ig-input", "chord-ig", "mask-path", "activation-difference")
METRIC_NAMES: Final = (
    "logit_difference",
    "mean_logit_difference",
    "log_probability",
    "probability_difference",
    "kl_divergence",
)
INTERVENED: Final = ("live", "frozen", "zero")
ERROR_MODES: Final = (*INTERVENED, "path")
RULE_NAMES: Final = ("midpoint", "gauss_legendre")
BACKENDS: Final = ("auto", "transformer-lens", "hugging-face")
PATCH_NAMES: Final = ("counterfactual", "zero", "mean")
BOS_NAMES: Final = ("always", "never", "tokenizer")
"""What there is to choose, as the registries have it, which import torch; a test holds both together."""

DEFAULT_TASK: Final = "agreement"
DEFAULT_EXAMPLES: Final = 8

Parsed = TypeVar("Parsed")


def option(panel: str | None, help_text: str, *flags: str, **settings: Any) -> Any:
    """An option, for the annotation of its field; `flags` only where they differ from the field's name."""
    if "min" in settings:
        settings.setdefault("metavar", "N")  # the help of a narrow terminal has no room for Typer's <int range>
    return typer.Option(*flags, help=help_text, rich_help_panel=panel, **settings)


def choices_in_words(names: Sequence[str], default: str | None = None) -> str:
    """`a, b (default) or c`."""
    *first, last = (f"{name} (default)" if name == default else name for name in names)
    return f"{', '.join(first)} or {last}"


def option_parser(parse: Callable[[str], Parsed]) -> Callable[[Any], Parsed]:
    """A parser of an option's text whose ValueErrors reach the user as they are; defaults pass through it unchanged."""

    def convert(value: Any) -> Parsed:
        if not isinstance(value, str):
            return value
        try:
            return parse(value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return convert


PATCH_HELP: Final = (
    "Value that nodes are set to: counterfactual (their value on the patch prompt), zero, or mean (over the prompts)."
)
METRIC_HELP: Final = (
    f"Number whose change is the effect: {choices_in_words(METRIC_NAMES)}; or your own, module:name. Read where the "
    "answer begins, or where you say: 'logit_difference at verb' (a role), '... at -2' (from the end)."
)


@dataclass(frozen=True)
class ModelOptions:
    """Which model, with which SAEs, and what opens its prompts."""

    flag_of_saes: ClassVar[str] = "--saes"
    """What messages call the option `saes`."""

    model: Annotated[
        str | None, option(INPUTS, "Hugging Face model: name or folder. Default: the embedded model.", metavar="MODEL")
    ] = None
    saes: Annotated[
        str | None,
        option(
            INPUTS,
            "Folder of SAEs (SAELens format, a subfolder each), or name of an embedded set. Default: jumprelu.",
            metavar="FOLDER",
        ),
    ] = None
    backend: Annotated[
        str,
        option(
            INPUTS,
            "Who runs the model: transformer-lens, hugging-face (its own modules), or auto (default): the first that "
            "computes the model's logits.",
            metavar="BACKEND",
        ),
    ] = BACKENDS[0]
    splice_bos: Annotated[
        bool, option(INPUTS, "Splice SAEs in at the BOS position too; most are not trained on it.", "--splice-bos")
    ] = False
    bos: Annotated[
        str | None,
        option(
            INPUTS,
            f"Open prompts with BOS: {choices_in_words(BOS_NAMES)} (as it does by itself). Default: as the SAEs were "
            "trained, else as TransformerLens has it for the architecture.",
            metavar="WHEN",
        ),
    ] = None
    sites: Annotated[
        str | None,
        option(
            INPUTS,
            "Load and splice in the SAEs of these sites only, with commas between: kinds (resid_post), names, or globs "
            "of either (blocks.[23].*). Default: at every site that has one.",
            metavar="SITES",
        ),
    ] = None
    layers: Annotated[
        str | None,
        option(
            INPUTS,
            "Load and splice in the SAEs of these layers only: 3, 2-10, or several with commas between (0,4-6).",
            metavar="LAYERS",
        ),
    ] = None
    from_layer: Annotated[
        int | None,
        option(
            INPUTS,
            "Splice SAEs in at this layer and above; all below is kept as it is, in finding and in judging.",
            min=0,
            metavar="LAYER",
        ),
    ] = None

    def __post_init__(self) -> None:
        if not self.embedded and self.saes is None:
            raise ValueError(f"--model needs {self.flag_of_saes}: SAEs trained on that model.")
        if self.model is None and self.saes not in (None, *sae_sets()) and Path(self.saes or "").is_dir():
            raise ValueError(
                f"{self.flag_of_saes} {self.saes} without --model: was --model forgotten? If these SAEs are the "
                f"embedded model's, give --model {EMBEDDED}."
            )
        refuse_unknown("backend", self.backend, BACKENDS)
        if self.sites is not None and not self.names_of_sites:
            raise ValueError("--sites names no site. Write for example --sites resid_post,mlp_out.")
        if self.layers is not None:
            layers_of(self.layers)
        if self.bos is not None:
            refuse_unknown("choice of BOS", self.bos, BOS_NAMES)

    @property
    def embedded(self) -> bool:
        """Whether the model is the embedded one."""
        return self.model in (None, EMBEDDED)

    @property
    def names_of_sites(self) -> tuple[str, ...]:
        """The names in `sites`, one by one; none where all sites are taken."""
        return tuple(filter(None, map(str.strip, (self.sites or "").split(","))))


@dataclass(frozen=True)
class PromptOptions:
    """Which prompt pairs: some of a built-in task, or those of a file."""

    task: Annotated[
        str | None,
        option(
            INPUTS,
            f"Built-in task. In the language of the embedded model: {choices_in_words(TASKS, DEFAULT_TASK)}. For any "
            f"model, in its tokenizer's words: {choices_in_words(ANY_TASKS)}.",
            metavar="TASK",
        ),
    ] = None
    pairs: Annotated[
        str | None, option(INPUTS, "Use your own prompt pairs, from this JSON or JSONL file, instead.", metavar="FILE")
    ] = None
    prompt: Annotated[
        str | None,
        option(
            INPUTS,
            "Use this one prompt instead. Without --answer: the likeliest token against the second.",
            metavar="TEXT",
        ),
    ] = None
    counterfactual: Annotated[
        str | None,
        option(
            INPUTS,
            "With --prompt: the prompt whose values nodes are set to, of as many tokens. Without it: --patch zero or "
            "mean.",
            metavar="TEXT",
        ),
    ] = None
    answer: Annotated[
        str | None,
        option(INPUTS, "With --prompt: the right next token, with its space, as in ' are'.", metavar="TEXT"),
    ] = None
    wrong: Annotated[
        str | None,
        option(INPUTS, "With --prompt: the wrong next token, right for the counterfactual.", metavar="TEXT"),
    ] = None
    split: Annotated[
        str | None,
        option(
            INPUTS,
            f"Split of the task: {choices_in_words(SPLITS, SPLITS[0])}; of a task for any model: "
            f"{choices_in_words(ANY_SPLITS, ANY_SPLITS[0])} (of ioi).",
            metavar="SPLIT",
        ),
    ] = None
    examples: Annotated[
        int | None,
        option(INPUTS, f"Number of pairs. Default: {DEFAULT_EXAMPLES} of a task, all of a file.", min=1),
    ] = None
    seed: Annotated[int, option(INPUTS, "Random seed for drawing the task's prompts.", min=0)] = 0
    skip_bad_pairs: Annotated[
        bool,
        option(
            INPUTS,
            "Leave out pairs whose metric is not a finite number on one of their prompts, and list them. By default "
            "such a pair ends the run before it begins.",
            "--skip-bad-pairs",
        ),
    ] = False

    def __post_init__(self) -> None:
        if sum(given is not None for given in (self.task, self.pairs, self.prompt)) > 1:
            raise ValueError("Give --task, --pairs or --prompt: one of them.")
        if self.task is not None:
            refuse_unknown("task", self.task, EVERY_TASK)
        if self.split is not None:
            refuse_unknown("split", self.split, EVERY_SPLIT)
        refuse_missing_file("--pairs", self.pairs)
        if not self.of_a_task and self.split is not None:
            raise ValueError("--split belongs to --task; a file of pairs and a prompt have no splits.")
        beside = [n for n in ("counterfactual", "answer", "wrong") if getattr(self, n) is not None]
        if self.prompt is None and beside:
            raise ValueError(f"--{beside[0]} belongs to --prompt.")
        if self.answer is None and self.wrong is not None:
            raise ValueError("--wrong needs --answer: the right next token, as in --answer ' are'; or give neither.")
        if self.counterfactual is not None and self.answer is not None and self.wrong is None:
            raise ValueError("--counterfactual needs --wrong: the answer that is right for it.")

    @property
    def of_a_task(self) -> bool:
        """Whether the prompts are a built-in task's, which has splits."""
        return self.pairs is None and self.prompt is None


@dataclass(frozen=True)
class EstimateOptions:
    """How a method treats SAE errors and its path."""

    error: Annotated[
        str | None,
        option(
            METHOD,
            "SAE errors downstream of a change: live (recomputed), frozen (as in the clean run), zero, or path (moved "
            "along the path of ig-input and chord-ig, their default). Default: live.",
            metavar="MODE",
        ),
    ] = None
    points: Annotated[
        int | None,
        option(
            METHOD,
            "Points on the integration path. Default: 5 for ig and ig-input, 10 for chord-ig, 8 for mask-path.",
            min=1,
            max=1000,
        ),
    ] = None
    rule: Annotated[
        str | None,
        option(
            METHOD,
            f"Quadrature rule: {choices_in_words(RULE_NAMES)}. Default: midpoint; for chord-ig gauss_legendre.",
            metavar="RULE",
        ),
    ] = None


@dataclass(frozen=True)
class QuestionOptions:
    """What is measured: which metric changes when nodes are set to which value."""

    patch: Annotated[str, option(METHOD, PATCH_HELP, metavar="VALUE")] = PATCH_NAMES[0]
    metric: Annotated[str, option(METHOD, METRIC_HELP, metavar="METRIC")] = METRIC_NAMES[0]


@dataclass(frozen=True)
class MemoryOptions:
    """How much memory batches may take."""

    memory: Annotated[
        int | None,
        option(
            METHOD,
            "Memory for batches, beside the weights: 500M, 2G, ... Default: half of what is free.",
            parser=option_parser(bytes_of),
            metavar="SIZE",
        ),
    ] = None


@dataclass(frozen=True)
class ResumeOptions:
    """Whether finished work of an earlier run is reused."""

    resume: Annotated[
        bool,
        option(
            OUTPUT,
            "Compute everything again. By default, work that an earlier or interrupted run kept is reused.",
            " /--no-resume",
            show_default=False,
        ),
    ] = True


@dataclass(frozen=True)
class RowsOptions:
    """How much is printed."""

    rows: Annotated[int, option(OUTPUT, "Rows of the printed tables.", min=1)] = 15


def refuse_missing_file(flag: str, path: str | None) -> None:
    """A FileNotFoundError if `path` is given and is not a file."""
    if path is not None and Path(path).is_dir():
        raise FileNotFoundError(f"{flag} {path} is a folder: give a file.")
    if path is not None and not Path(path).is_file():
        raise FileNotFoundError(f"{flag} {path}: no such file.")
