"""`jumpwire find`: measure every node, keep the strongest, write the run."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from circuits.console import progress_bar, quiet_libraries, timed
from circuits.inputs import Inputs

if TYPE_CHECKING:
    from attribution.patch_values import PatchValue
    from attribution.prompt_pairs import PromptPairs
    from attribution.quadrature import Quadrature
    from attribution.splice import SplicedModel

PATCHES = ("counterfactual", "zero", "mean")


@dataclass(frozen=True)
class FindOptions:
    """How effects are measured and shown; None where the method's default stands."""

    method: str = "exact"
    error: str | None = None
    patch: str = "counterfactual"
    metric: str = "logit_difference"
    points: int | None = None
    rule: str | None = None
    nodes: int = 50
    rows: int = 15
    out: str | None = None


def find(console: Console, inputs: Inputs, options: FindOptions) -> None:
    """The whole command."""
    seconds: dict[str, float] = {}
    with console.status("loading"), timed(seconds, "import"):
        from attribution.methods import METHODS
        from attribution.metric import METRICS
        from circuits.discover import discover
        from circuits.run_files import RunFolder, write_run
        from circuits.selection import Selection
        from circuits.terminal import print_found

        quiet_libraries()
        points = quadrature(options.points, options.rule, options.method)
        known = {"method": tuple(METHODS), "metric": tuple(METRICS), "patch": PATCHES}
        refuse_unknown({name: getattr(options, name) for name in known}, known)
        target = RunFolder(Path(options.out or Path("out") / inputs.name))
        target.make()
    with console.status("loading the model and its SAEs"), timed(seconds, "load"):
        loaded = inputs.load()
    with (
        progress_bar(console, f"{options.method} on {len(loaded.prompts)} pair(s)") as told,
        timed(seconds, "measure"),
    ):
        found = discover(
            loaded.spliced,
            loaded.prompts,
            METRICS[options.metric],
            method=options.method,
            error_mode=options.error or "live",
            patch_value=patch_value(options.patch, loaded.spliced, loaded.prompts, options.error),
            points=points,
            select=Selection(nodes=options.nodes),
            progress=told,
            inputs={
                "task": inputs.name,
                "model": loaded.spliced.model.name,
                "seed": inputs.seed,
                "hashes": dict(loaded.hashes),
            },
        )
    title = f"{inputs.name} on {loaded.spliced.model.name}"
    arguments = {**inputs.arguments(), **asdict(options)}
    write_run(target, found, title=title, arguments=arguments, hashes=loaded.hashes, seconds=seconds)
    print_found(console, found, target, title=title, rows=options.rows)


def refuse_unknown(chosen: dict[str, str], known: dict[str, tuple[str, ...]]) -> None:
    """A ValueError for the first choice that does not exist; it lists what does."""
    for name, choices in known.items():
        if chosen[name] not in choices:
            raise ValueError(f"No {name} {chosen[name]!r}. Choose one of: {', '.join(choices)}.")


def patch_value(name: str, spliced: "SplicedModel", prompts: "PromptPairs", error_mode: str | None) -> "PatchValue":
    """What nodes are set to, by its name in `PATCHES`."""
    from attribution.patch_values import counterfactual, mean_over, zero

    if name == "mean":
        both = [ids for pair in prompts for ids in (pair.clean_ids, pair.patch_ids)]
        return mean_over(spliced, both, error_mode="zero" if error_mode == "zero" else "live")
    return zero if name == "zero" else counterfactual


def quadrature(points: int | None, rule: str | None, method: str) -> "Quadrature | None":
    """The quadrature asked for; None where neither points nor rule is given."""
    from attribution.quadrature import RULES

    if points is None and rule is None:
        return None
    chord = method == "chord-ig"
    rule = rule or ("gauss_legendre" if chord else "midpoint")
    if rule not in RULES:
        raise ValueError(f"No rule {rule!r}. Choose one of: {', '.join(RULES)}.")
    return RULES[rule]((10 if chord else 5) if points is None else points)
