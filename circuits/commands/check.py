"""`jumpwire check`: hold an estimate against exact patching; a verdict, its page, and an exit code for scripts."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console

from circuits.commands.shared.choices import patch_value, quadrature, refuse_excluded, refuse_unknown
from circuits.commands.shared.earlier_run import EarlierRun, RunChoices, refuse_unasked_code
from circuits.commands.shared.inputs import Inputs, Loaded
from circuits.commands.shared.options import (
    METHOD,
    METHOD_NAMES,
    METRIC_HELP,
    METRIC_NAMES,
    OUTPUT,
    PATCH_HELP,
    PATCH_NAMES,
    EstimateOptions,
    MemoryOptions,
    ResumeOptions,
    RowsOptions,
    choices_in_words,
    option,
)
from circuits.terminal.progress import progress_bar
from circuits.terminal.resumable import CHUNKS, chunks_in_words, resumable
from circuits.terminal.whole_run import RUN_FILE, refuse_folders_in_place, write_whole
from graphs.files.whole_file import refuse_unwritable

if TYPE_CHECKING:
    from attribution.effects.effects import Effects
    from graphs import Verdict

VERDICT: Final = "Verdict"
ESTIMATES: Final = tuple(name for name in METHOD_NAMES if name not in ("exact", "activation-difference"))
DEFAULT_ESTIMATE: Final = "ig"
NEVER, ANY = "never", "any"
FAIL_ON: Final = (NEVER, ANY, "sign_flip", "missed", "phantom", "wrong_size")


@dataclass(frozen=True)
class CheckOptions(RowsOptions, ResumeOptions, MemoryOptions, EstimateOptions):
    """Which estimate is checked and how; None where the default or the choice of the run in `run` stands."""

    run: Annotated[
        str | None,
        typer.Argument(
            metavar="RUN",
            help="Folder of a run of find. If the run is an estimate, it is checked; if it is exact, it is the truth "
            "that --method is checked against. Without it, everything is measured here.",
        ),
    ] = None
    method: Annotated[
        str | None,
        option(METHOD, f"The estimate to check: {choices_in_words(ESTIMATES, DEFAULT_ESTIMATE)}.", metavar="METHOD"),
    ] = None
    patch: Annotated[str | None, option(METHOD, f"{PATCH_HELP} Default: {PATCH_NAMES[0]}.", metavar="VALUE")] = None
    metric: Annotated[str | None, option(METHOD, f"{METRIC_HELP} Default: {METRIC_NAMES[0]}.", metavar="METRIC")] = None
    verify: Annotated[
        int | None,
        option(
            VERDICT,
            "Patch only this many nodes exactly: the strongest, those at risk, and a random sample that bounds the "
            "errors of the rest. Default: all.",
            min=1,
        ),
    ] = None
    threshold: Annotated[
        float | None,
        option(
            VERDICT,
            "Effects of at least this size count as large, in units of the metric. Default: 1% of the median "
            "|total effect|.",
        ),
    ] = None
    audit_seed: Annotated[int, option(VERDICT, "Random seed for drawing the nodes of that sample.", min=0)] = 0
    explained: Annotated[
        int,
        option(
            VERDICT,
            "Flagged nodes whose error is traced along their path, the largest errors first, for no longer than "
            "everything else took.",
            min=0,
        ),
    ] = 20
    fail_on: Annotated[
        list[str],
        option(
            VERDICT,
            f"Exit with code 1 if a node has this flag: {choices_in_words(FAIL_ON[1:])}. May be given several times.",
            metavar="FLAG",
        ),
    ] = field(default_factory=lambda: [NEVER])
    out: Annotated[
        str | None,
        option(OUTPUT, "Folder for the files. Default: that of the run, or out/<task>-check.", metavar="FOLDER"),
    ] = None


def check(console: Console, inputs: Inputs, options: CheckOptions) -> None:
    """Check an estimate against exact patching: where it is wrong, why, and what it may have missed."""
    earlier = None if options.run is None else EarlierRun.read(Path(options.run))
    if earlier is not None:
        if inputs != Inputs():
            raise ValueError(
                "A run is checked on its own prompts and SAEs: give no --task, --pairs, --saes, ... with it."
            )
        refuse_unasked_code(earlier.folder, earlier.choices.metric, options.metric)
        inputs = earlier.inputs
    with console.status("loading"):
        inputs.refuse_unreadable()

        from attribution.prompts.metric_names import metric_named
        from circuits.commands.check_output import print_verdict
        from circuits.terminal.shown_prompt import shown_prompt
        from graphs import save_verdict, write_verdict_page

        plan = _Plan.of(options, earlier)
        folder = _folder(options, inputs)
        found = None if earlier is None else earlier.effects()
    with console.status("loading the model and its SAEs"):
        loaded = inputs.load(metric_named(plan.metric))
        if earlier is not None and earlier.hashes != loaded.hashes():
            raise ValueError(f"{options.run}: the model, an SAE or the prompts have changed since. Make the run again.")
        loaded = loaded if earlier is None else earlier.measured(loaded)
    console.print(shown_prompt(loaded.spliced, loaded.prompts[0], len(loaded.prompts)))
    files = {"verdict": folder / "verdict.json", "page": folder / "verdict.html"}
    label = f"checking {plan.method} on {len(loaded.prompts)} pair(s)"
    with resumable(folder / CHUNKS, resume=options.resume) as store:
        with progress_bar(console, label, store) as told:
            verdict = _checked(plan, loaded, found, options, told)
        title = f"{inputs.name} on {loaded.model_in_words}"
        page = partial(write_verdict_page, verdict, title=title)
        write_whole(folder, {files["verdict"].name: partial(save_verdict, verdict), files["page"].name: page})
        console.print(title, style="bold", highlight=False)
        if loaded.left_out_in_words is not None:
            console.print(loaded.left_out_in_words, highlight=False)
        print_verdict(console, verdict, rows=options.rows, files=files)
        console.print(chunks_in_words(store), highlight=False)
    flags = {v.flag for v in verdict.flagged}
    if flags if ANY in options.fail_on else flags & set(options.fail_on):
        raise typer.Exit(1)


def _folder(options: CheckOptions, inputs: Inputs) -> Path:
    """Where the files go; a folder that cannot be written to, and that of another run, are refused."""
    folder = Path(options.out or options.run or Path("out") / f"{inputs.name}-check")
    if (folder / RUN_FILE).is_file() and (options.run is None or folder.resolve() != Path(options.run).resolve()):
        raise ValueError(f"{folder} holds another run, whose verdict this is not: give another --out.")
    refuse_unwritable(folder / CHUNKS)
    refuse_folders_in_place(folder)
    return folder


def _checked(
    plan: "_Plan",
    loaded: Loaded,
    found: "Effects | None",
    options: CheckOptions,
    told: Callable[[float], None],
) -> "Verdict":
    """The verdict with all details; `found` are the effects of the run."""
    from attribution.checking.check import check as check_effects
    from attribution.checking.verdict_of import with_details
    from attribution.prompts.metric_names import metric_named
    from attribution.runs.memory import Room
    from attribution.runs.progress import progress_between
    from attribution.runs.time_limit import as_long_as_since
    from circuits.discovery.discover import patching_mode

    limit = as_long_as_since(time.monotonic())
    patch = patch_value(plan.patch, loaded.spliced, loaded.prompts, plan.error)
    given = loaded.spliced, loaded.prompts, metric_named(plan.metric)
    estimate, exact = plan.effects(loaded, found, patch, options.memory, progress_between(told, 0.0, 0.1))
    mode = patching_mode(plan.method, estimate.error_mode)  # pyright: ignore[reportArgumentType]
    room = Room.of(loaded.spliced, loaded.prompts, mode, options.memory)
    told(0.1)
    verdict = check_effects(
        *given,
        estimate,
        patch_value=patch,
        verify=options.verify,
        threshold=options.threshold,
        exact=exact,
        seed=options.audit_seed,
        explained=options.explained,
        room=room,
        limit=limit,
        progress=progress_between(told, 0.1, 0.8),
    )
    about = {"patch_value": patch, "room": room, "limit": limit}
    return with_details(verdict, *given, estimate, **about, progress=progress_between(told, 0.8, 1.0))


@dataclass(frozen=True)
class _Plan:
    """How the estimate to check was made in the run, or is to be made."""

    method: str
    error: str | None
    patch: str
    metric: str
    points: int | None
    rule: str | None

    @classmethod
    def of(cls, options: CheckOptions, earlier: EarlierRun | None) -> "_Plan":
        """From the options and the run; unknown or incompatible choices are refused here."""
        ran = RunChoices() if earlier is None else earlier.choices
        estimated = ran.method not in ("exact", "auto")
        other = {n for n in ("error", "patch", "metric") if getattr(options, n) not in (None, getattr(ran, n))}
        if earlier is not None and other:
            raise ValueError("A run has its own error mode, patch value and metric: give no other with it.")
        if estimated and (options.method or options.points or options.rule):
            raise ValueError(f"{options.run} holds an estimate ({ran.method}): it is checked as it is.")
        plan = cls(
            method=ran.method if estimated else options.method or DEFAULT_ESTIMATE,
            error=ran.error or options.error,
            patch=ran.patch or options.patch or PATCH_NAMES[0],
            metric=ran.metric or options.metric or METRIC_NAMES[0],
            points=options.points,
            rule=options.rule,
        )
        refuse_unknown("method", plan.method, ESTIMATES)
        refuse_unknown("patch", plan.patch, PATCH_NAMES)
        for flag in options.fail_on:
            refuse_unknown("fail-on", flag, FAIL_ON)

        from attribution.checking.check import refuse_threshold
        from attribution.methods.registry import refuse_points

        refuse_excluded(plan.method, plan.error, plan.patch, plan.metric)
        if plan.points or plan.rule:
            refuse_points(plan.method)
        quadrature(plan.points, plan.rule, plan.method)
        refuse_threshold(options.threshold)
        return plan

    def effects(
        self,
        loaded: Loaded,
        found: "Effects | None",
        patch: Any,
        memory: int | None,
        progress: Callable[[float], None],
    ) -> "tuple[Effects, Effects | None]":
        """The estimate, and the exact effects of all nodes if the run holds them; `found` are the run's effects."""
        from attribution.prompts.metric_names import metric_named
        from circuits.discovery.discover import patching_mode
        from circuits.discovery.measuring import SCREENED
        from circuits.ranking.question import Question

        if found is not None and found.method == SCREENED:
            mode, found = found.error_mode, None  # partly exact, partly estimated: both are measured again
        elif found is not None and found.method != "exact_patching":
            return found, None
        else:
            mode = self.error if found is None else found.error_mode
        points = quadrature(self.points, self.rule, self.method)
        given = loaded.spliced, loaded.prompts, metric_named(self.metric)
        asked = patching_mode(self.method, mode)  # pyright: ignore[reportArgumentType]
        question = Question(*given, asked, patch, memory)
        question.room.refuse_if_too_small(self.method)
        return question.estimate(self.method, progress, points), found
