"""`jumpwire check`: an estimate against exact patching; a verdict, its page, and an exit code for scripts."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from circuits.commands.find import CHUNKS, PATCHES, patch_value, quadrature, refuse_unknown
from circuits.commands.inputs import Inputs, Loaded
from circuits.terminal.console import progress_bar, quiet_libraries
from circuits.terminal.resumable import chunks_in_words, resumable

if TYPE_CHECKING:
    from attribution.effects.effects import Effects
    from graphs import Verdict

NEVER, ANY = "never", "any"
FAIL_ON = (NEVER, ANY, "sign_flip", "missed", "phantom", "wrong_size")


@dataclass(frozen=True)
class CheckOptions:
    """What is checked and how; None where a default stands, or what the run in `run` was made with."""

    run: str | None = None
    method: str | None = None
    error: str | None = None
    patch: str | None = None
    metric: str | None = None
    points: int | None = None
    rule: str | None = None
    verify: int | None = None
    threshold: float | None = None
    audit_seed: int = 0
    explained: int = 20
    fail_on: tuple[str, ...] = (NEVER,)
    resume: bool = True
    rows: int = 15
    out: str | None = None


def check(console: Console, inputs: Inputs, options: CheckOptions) -> bool:
    """The whole command; True where the verdict carries a flag that --fail-on names."""
    earlier = None if options.run is None else _Earlier.read(Path(options.run))
    if earlier is not None:
        if inputs != Inputs():
            raise ValueError(
                "A run is checked on its own prompts and SAEs: give no --task, --pairs, --saes, ... with it."
            )
        inputs = Inputs.from_arguments(earlier.arguments)
    with console.status("loading"):
        from circuits.commands.check_output import print_verdict
        from graphs import save_verdict, write_verdict_page

        quiet_libraries()
        plan = _Plan.of(options, earlier)
        folder = Path(options.out or options.run or Path("out") / f"{inputs.name}-check")
        folder.mkdir(parents=True, exist_ok=True)
    with console.status("loading the model and its SAEs"):
        loaded = inputs.load()
        if earlier is not None and earlier.hashes != loaded.hashes:
            raise ValueError(f"{options.run}: the model, an SAE or the prompts have changed since. Make the run again.")
    files = {"verdict": folder / "verdict.json", "page": folder / "verdict.html"}
    label = f"checking {plan.method} on {len(loaded.prompts)} pair(s)"
    with resumable(folder / CHUNKS, resume=options.resume) as store:
        with progress_bar(console, label, store) as told:
            verdict = _checked(plan, loaded, earlier, options, files["verdict"], told)
        save_verdict(verdict, files["verdict"])
        write_verdict_page(verdict, files["page"], title=f"{inputs.name} on {loaded.spliced.model.name}")
        print_verdict(console, verdict, rows=options.rows, files=files)
        console.print(chunks_in_words(store), highlight=False)
    flags = {v.flag for v in verdict.flagged}
    return bool(flags if ANY in options.fail_on else flags & set(options.fail_on))


def _checked(
    plan: "_Plan",
    loaded: Loaded,
    earlier: "_Earlier | None",
    options: CheckOptions,
    file: Path,
    told: Callable[[float], None],
) -> "Verdict":
    """The verdict with all details; saved to `file` before those that are for the page only."""
    from attribution.checking.check import check as check_effects
    from attribution.checking.verdict_details import with_details
    from attribution.effects.measurement import within
    from attribution.prompts.metrics import METRICS
    from graphs import save_verdict

    patch = patch_value(plan.patch, loaded.spliced, loaded.prompts, plan.error)
    given = loaded.spliced, loaded.prompts, METRICS[plan.metric]
    estimate, exact = plan.effects(loaded, earlier, patch, within(told, 0.0, 0.1))
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
        progress=within(told, 0.1, 0.8),
    )
    save_verdict(verdict, file)
    return with_details(verdict, *given, estimate, patch_value=patch, progress=within(told, 0.8, 1.0))


@dataclass(frozen=True)
class _Earlier:
    """A run of `find`: its arguments, hashes and effects."""

    arguments: Mapping[str, Any]
    hashes: Mapping[str, Any]
    folder: Path

    @classmethod
    def read(cls, folder: Path) -> "_Earlier":
        path = folder / "run.json"
        if not path.is_file():
            raise FileNotFoundError(f"{folder} has no run.json: not a run of `jumpwire find`.")
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(content["arguments"], content["hashes"], folder)

    def effects(self) -> "Effects":
        from attribution.effects.effects import Effects

        return Effects.read_parquet(self.folder / "effects.parquet")


@dataclass(frozen=True)
class _Plan:
    """The estimate to check: taken from the run, or to be made."""

    method: str
    error: str | None
    patch: str
    metric: str
    points: int | None
    rule: str | None

    @classmethod
    def of(cls, options: CheckOptions, earlier: _Earlier | None) -> "_Plan":
        from attribution.checking.check import refuse_threshold
        from attribution.methods.registry import METHODS, refuse_points
        from attribution.prompts.metrics import METRICS
        from circuits.commands.method_options import refuse_excluded

        ran = {} if earlier is None else earlier.arguments
        estimated = ran.get("method", "exact") not in ("exact", "auto")
        given = {n: getattr(options, n) for n in ("error", "patch", "metric")}
        if earlier is not None and any(v is not None for v in given.values()):
            raise ValueError("A run has its own error mode, patch value and metric: give none with it.")
        if estimated and (options.method or options.points or options.rule):
            raise ValueError(f"{options.run} holds an estimate ({ran['method']}): it is checked as it is.")
        plan = cls(
            method=ran["method"] if estimated else options.method or "ig",
            error=ran.get("error") or options.error,
            patch=ran.get("patch") or options.patch or "counterfactual",
            metric=ran.get("metric") or options.metric or "logit_difference",
            points=options.points,
            rule=options.rule,
        )
        estimates = tuple(m for m in METHODS if m not in ("exact", "activation-difference"))
        known = {"method": estimates, "metric": tuple(METRICS), "patch": PATCHES}
        refuse_unknown({name: getattr(plan, name) for name in known}, known)
        refuse_unknown({"fail-on": next((f for f in options.fail_on if f not in FAIL_ON), NEVER)}, {"fail-on": FAIL_ON})
        refuse_excluded(plan.method, plan.error, plan.patch, plan.metric)
        if plan.points or plan.rule:
            refuse_points(plan.method)
        quadrature(plan.points, plan.rule, plan.method)
        refuse_threshold(options.threshold)
        return plan

    def effects(
        self, loaded: Loaded, earlier: _Earlier | None, patch: Any, progress: Callable[[float], None]
    ) -> "tuple[Effects, Effects | None]":
        """The estimate, and exact effects where the run holds them."""
        from attribution.methods.registry import METHODS, options_of
        from attribution.prompts.metrics import METRICS
        from circuits.discovery.measuring import SCREENED

        found = None if earlier is None else earlier.effects()
        if found is not None and found.method == SCREENED:
            mode, found = found.error_mode, None  # neither an estimate nor all exact: both are measured again
        elif found is not None and found.method != "exact_patching":
            return found, None
        else:
            mode = self.error if found is None else found.error_mode
        points = quadrature(self.points, self.rule, self.method)
        options = {"patch_value": patch, "progress": progress, **options_of(self.method, mode, points)}  # pyright: ignore
        return METHODS[self.method](loaded.spliced, loaded.prompts, METRICS[self.metric], **options), found
