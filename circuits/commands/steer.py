"""`jumpwire steer`: change features or add a direction at several strengths; what it does, and what it costs."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from circuits.commands.shared.choices import refuse_unknown
from circuits.commands.shared.inputs import Inputs, Loaded
from circuits.commands.shared.options import (
    INTERVENED,
    METHOD,
    METRIC_HELP,
    METRIC_NAMES,
    OUTPUT,
    MemoryOptions,
    ResumeOptions,
    choices_in_words,
    option,
    refuse_missing_file,
)
from circuits.terminal.progress import progress_bar
from circuits.terminal.resumable import CHUNKS, chunks_in_words, resumable
from graphs.files.whole_file import refuse_unwritable

if TYPE_CHECKING:
    from torch import Tensor

    from attribution.runs.memory import Room
    from circuits.steering.samples import Sampling
    from circuits.steering.steering import Steering

STEERING: Final = "Steering"
TEXT: Final = "Generated and general text"
WHEN: Final = ("always", "prompt", "generating")
MOST_STRENGTHS: Final = 1000


@dataclass(frozen=True)
class SteerOptions(MemoryOptions, ResumeOptions):
    """What is done to which nodes, how strongly, and what is reported."""

    changes: Annotated[
        list[str],
        typer.Argument(
            metavar="CHANGE",
            help="A node and what is done to it: blocks.2.hook_resid_post/117@verb:add=5, :set=0, :scale=2; with max, "
            "as in :add=0.5max, relative to the feature's maximum on general text. SITE/direction:add=1 adds "
            "--direction. With SAEs at one site (--sites), 117:add=5 is enough. Without @ at every position.",
        ),
    ] = field(default_factory=list)
    strengths: Annotated[
        str,
        option(
            STEERING,
            "Strengths that multiply the changes: numbers with commas between, or FIRST:LAST:COUNT. 0, the unsteered "
            "model, is always among them.",
            metavar="LIST",
        ),
    ] = "-2,-1,-0.5,0.5,1,2"
    direction: Annotated[
        str | None,
        option(
            STEERING,
            "What SITE/direction adds: a file (.json, .npy or .safetensors) of one vector, or a feature, for its "
            "decoder direction.",
            metavar="FILE",
        ),
    ] = None
    when: Annotated[
        str,
        option(
            STEERING,
            f"Where nodes without a position change: {choices_in_words(WHEN, WHEN[0])}. generating: from the prompt's "
            "last position on, whose logits choose the first new token.",
            metavar="WHEN",
        ),
    ] = WHEN[0]
    text: Annotated[
        list[str],
        option(
            STEERING, "Steer this text instead of a task's prompts; several times for several texts.", metavar="TEXT"
        ),
    ] = field(default_factory=list)
    error: Annotated[
        str, option(METHOD, f"SAE errors downstream of the change: {choices_in_words(INTERVENED)}.", metavar="MODE")
    ] = INTERVENED[0]
    metric: Annotated[str, option(METHOD, METRIC_HELP, metavar="METRIC")] = METRIC_NAMES[0]
    generate: Annotated[int, option(TEXT, "Tokens that each prompt is continued with; 0 for none.", min=0)] = 12
    samples: Annotated[int, option(TEXT, "Continuations of each prompt at each strength.", min=1)] = 4
    temperature: Annotated[
        float,
        option(TEXT, "Temperature of what is drawn, with --seed; 0 takes the likeliest token, in one sample.", min=0),
    ] = 1.0
    text_file: Annotated[
        str | None,
        option(
            TEXT,
            "General text, a document a line: gives the features' maxima, and KL and CE on it are measured. Default: "
            "text of the embedded language for the embedded model, else none.",
            metavar="FILE",
        ),
    ] = None
    shown: Annotated[int, option(OUTPUT, "Prompts whose continuations are printed.", min=0)] = 1
    out: Annotated[str | None, option(OUTPUT, "Folder for the files. Default: out/<task>-steer.", metavar="FOLDER")] = (
        None
    )

    def __post_init__(self) -> None:
        if not self.changes:
            raise ValueError("Say what to change, as in blocks.2.hook_resid_post/117@verb:add=5.")
        self.each_strength()
        refuse_unknown("--when", self.when, WHEN)
        refuse_unknown("error mode", self.error, INTERVENED)
        refuse_missing_file("--text-file", self.text_file)

    def each_strength(self) -> list[float]:
        """The numbers in `strengths`.

        Raises:
            ValueError: they are none.
        """
        try:
            found = _numbers(self.strengths)
        except ValueError:
            found = []
        if not found or not all(map(math.isfinite, found)):
            raise ValueError(
                f"--strengths {self.strengths!r}: write numbers with commas between, as in -1,0.5,2, or "
                f"FIRST:LAST:COUNT, as in -2:2:9 (2 to {MOST_STRENGTHS} of them)."
            )
        return found


def _numbers(text: str) -> list[float]:
    """Of a list, or a range; a ValueError if a part is no number, none if the range is none."""
    if ":" not in text:
        return [float(part) for part in text.split(",")]
    first, last, count = text.split(":")
    steps = int(count) - 1
    if not 1 <= steps < MOST_STRENGTHS:
        return []
    return [float(first) + (float(last) - float(first)) * n / steps for n in range(steps + 1)]


def steer(console: Console, inputs: Inputs, options: SteerOptions) -> None:
    """Steer: change features or add a direction at several strengths; the metric, KL, text and its fluency at each."""
    asked = inputs.task, inputs.pairs, inputs.prompt, inputs.split, inputs.examples
    if options.text and any(given is not None for given in asked):
        raise ValueError("--text is the only prompt: give no --task, --pairs, --prompt, --split or --examples.")
    name = "text" if options.text else inputs.name
    folder = Path(options.out or f"out/{name}-steer")
    with console.status("loading"):
        from attribution.prompts.metric_names import metric_named
        from circuits.ablation.side_effect import BYTES_OF_A_LOGIT
        from circuits.labels.general_text import general_text
        from circuits.steering.sweep import steer as run_sweep
        from circuits.steering.sweep_file import write_sweep
        from circuits.steering.sweep_output import print_sweep
        from circuits.terminal.shown_prompt import shown_prompt

        direction, sampling = _read(inputs, options)
        inputs.refuse_unreadable()
        refuse_unwritable(folder)
    with console.status("loading the model and its SAEs"):
        loaded = _load(inputs, options)
        hashes = loaded.hashes()
    console.print(shown_prompt(loaded.spliced, loaded.prompts[0], len(loaded.prompts)))
    room = _room(loaded, options)
    source, documents = general_text(options.text_file, loaded.spliced, embedded=inputs.embedded)
    longest = max(map(len, loaded.prompts)) + options.generate, max(map(len, documents), default=1)
    of_samples, of_texts = (room.texts(loaded.spliced, length, 16, BYTES_OF_A_LOGIT) for length in longest)
    with console.status("reading the changes"):
        steering = _steering(loaded, options, direction, documents, of_texts)
    with (
        resumable(folder / CHUNKS, resume=options.resume) as store,
        progress_bar(console, f"steering {len(loaded.prompts)} prompt(s)") as told,
    ):
        sweep = run_sweep(
            loaded.spliced,
            loaded.prompts,
            metric_named(options.metric),
            steering,
            strengths=options.each_strength(),
            sampling=sampling,
            documents=documents,
            batch_size=min(room.pairs("exact"), of_samples),
            text_batch_size=of_texts,
            progress=told,
        )
    title = f"{name} on {loaded.model_in_words}"
    about = {"arguments": {**inputs.arguments(), **asdict(options)}, "hashes": hashes, "general_text": source}
    path = write_sweep(folder, sweep, about, title=title)
    print_sweep(console, sweep, path, title=title, prompts=options.shown)
    console.print(chunks_in_words(store), highlight=False)


def _read(inputs: Inputs, options: SteerOptions) -> "tuple[Tensor | str | None, Sampling | None]":
    """The direction, and how prompts are continued; what is wrong without a model is refused here."""
    from attribution.prompts.metric_names import metric_named
    from circuits.labels.corpus import refuse_bad_text
    from circuits.steering.changes import read_changes
    from circuits.steering.directions import FORMATS, read_direction
    from circuits.steering.samples import Sampling

    counts_maxima = any(change.of_maximum for change in read_changes(options.changes))
    if counts_maxima and options.text_file is None and not inputs.embedded:
        raise ValueError("max is taken over general text, and there is none: give --text-file, a document a line.")
    metric_named(options.metric)
    if options.text_file is not None:
        refuse_bad_text(options.text_file)
    direction = options.direction
    given = options.generate, options.samples, options.temperature, inputs.seed
    sampling = Sampling(*given) if options.generate else None
    if direction is not None and (Path(direction).suffix in FORMATS or Path(direction).is_file()):
        return read_direction(direction), sampling
    return direction, sampling


def _steering(
    loaded: Loaded,
    options: SteerOptions,
    direction: "Tensor | str | None",
    documents: list[list[int]],
    batch_size: int,
) -> "Steering":
    from circuits.steering.steering import Steering

    return Steering.named(
        options.changes,
        loaded.spliced,
        loaded.prompts,
        direction=direction,
        documents=documents,
        when=options.when,  # pyright: ignore[reportArgumentType]
        error_mode=options.error,  # pyright: ignore[reportArgumentType]
        batch_size=batch_size,
    )


def _load(inputs: Inputs, options: SteerOptions) -> Loaded:
    from attribution.prompts.metric_names import metric_named
    from attribution.prompts.prompt_pairs import PromptPairs
    from circuits.ablation.text_prompt import text_prompt

    if not options.text:
        return inputs.load(metric_named(options.metric))
    spliced = inputs.load_spliced()
    return Loaded(spliced, PromptPairs(tuple(p for text in options.text for p in text_prompt(text, spliced.model))))


def _room(loaded: Loaded, options: SteerOptions) -> "Room":
    """Batch sizes that fit into --memory.

    Raises:
        ValueError: not a single prompt fits.
    """
    from attribution.runs.memory import Room

    given = loaded.spliced, loaded.prompts, options.error, options.memory
    room = Room.of(*given)  # pyright: ignore[reportArgumentType]
    room.refuse_if_too_small()
    return room
