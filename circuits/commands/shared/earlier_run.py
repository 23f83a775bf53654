"""What an earlier `find` left behind, read back: its run.json, its effects, its circuit.json.

Paths in run.json are as they were given; those below the run's folder are relative to it, so that it can be moved.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args, get_type_hints

from pydantic import Field, create_model
from typer.models import OptionInfo

from circuits.commands.shared.inputs import Inputs, Loaded, ModelInputs, OtherPairs
from circuits.commands.shared.options import METRIC_NAMES
from circuits.terminal.whole_run import RUN_FILE, refuse_foreign
from graphs import CircuitGraph, load_circuit
from graphs.files.plain_circuit import Hashes
from graphs.files.plain_json import parse_json
from graphs.files.text_file import read_text
from graphs.files.typed_content import FileContent, typed

if TYPE_CHECKING:
    from attribution.effects.effects import Effects
    from attribution.prompts.metrics import Metric
    from attribution.prompts.prompt_pairs import PromptPairs
    from attribution.splice.spliced_model import SplicedModel
    from circuits.ablation.causal_tests import FoundOn

_SHARE: Final = Field(ge=0, lt=1, description="a share from 0 to less than 1")


class RunChoices(FileContent):
    """Arguments that are not `Inputs`; the defaults are what runs did that do not have them."""

    method: str = "exact"
    error: str | None = None
    patch: str | None = None
    metric: str | None = None
    positions: str = "auto"
    per_pair: bool = False
    validation: Annotated[float | None, _SHARE] = None
    test: Annotated[float, _SHARE] = 0.0
    held_out: str | None = None
    other_examples: Annotated[int, Field(ge=0)] = 0


class RunContent(FileContent):
    """The file as a whole; `paths_below_the_run` names the arguments that are relative to its folder."""

    arguments: dict[str, Any]
    paths_below_the_run: list[str] = Field(default_factory=list)
    hashes: Hashes


@cache
def all_arguments() -> type[RunChoices]:
    """The arguments, those of `Inputs` among them, within the limits of their options."""
    hints = get_type_hints(Inputs, include_extras=True)
    own: dict[str, Any] = {f.name: (_limited(hints[f.name]), f.default) for f in fields(Inputs)}
    return create_model("Arguments", __base__=RunChoices, **own)


def _limited(hint: Any) -> Any:
    """The type of an option, with the limits that the option has."""
    given, *settings = get_args(hint)
    option = next(one for one in settings if isinstance(one, OptionInfo))
    return Annotated[given, Field(ge=option.min, le=option.max)]


PROMPTS: Final = ("task", "pairs", "split", "examples", "prompt", "counterfactual", "answer", "wrong")
"""The arguments that say which prompts."""
_PATHS: Final = ("model", "saes", "pairs", "held_out", "text")
"""The arguments that may be paths."""


def portable(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A run's arguments as its run.json in `folder` has them, and which of them are relative to it."""
    found: dict[str, str] = {}
    for name in _PATHS:
        given, home = arguments.get(name), folder.resolve()
        is_set = name == "saes" and arguments.get("model") is None
        if given is not None and not is_set and Path(given).exists() and home in Path(given).resolve().parents:
            found[name] = Path(given).resolve().relative_to(home).as_posix()
    return {"arguments": {**arguments, **found}, "paths_below_the_run": sorted(found)}


@dataclass(frozen=True)
class EarlierRun:
    """The arguments of a run of `find` and the hashes of its model, SAEs and prompts, from run.json.

    `choices` are those of the arguments that are not `inputs`.
    """

    arguments: Mapping[str, Any]
    choices: RunChoices
    hashes: Mapping[str, Any]
    folder: Path

    @classmethod
    def read(cls, folder: Path) -> "EarlierRun":
        """The run in a folder.

        Raises:
            FileNotFoundError: the folder holds no run.
            ValueError: run.json does not say what a run says; the message names the key.
        """
        file = folder / RUN_FILE
        if not file.is_file():
            raise FileNotFoundError(f"{folder} has no run.json: not a run of `jumpwire find`.")
        text = read_text(file)
        try:
            content = typed(RunContent, parse_json(text))
            typed(all_arguments(), content.arguments)
            given = {n: content.arguments.get(n) for n in _PATHS if n in content.paths_below_the_run}
            below = {name: str(folder / path) for name, path in given.items() if path is not None}
            arguments = {**content.arguments, **below}
            choices = typed(all_arguments(), arguments)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        found = cls(arguments, choices, content.hashes.model_dump(), folder)
        # Refuses arguments that the command line would refuse; commands that read pairs say if their file is gone.
        found.inputs_without(("pairs",))
        return found

    @property
    def inputs(self) -> Inputs:
        """Those of the run.

        Raises:
            FileNotFoundError: a file of theirs is gone.
        """
        return self.inputs_without(())

    def inputs_without(self, left_out: tuple[str, ...]) -> Inputs:
        """Those of the run, with defaults in place of some arguments."""
        path = self.folder / RUN_FILE
        try:
            return Inputs.from_arguments({k: v for k, v in self.arguments.items() if k not in left_out})
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{path}: {error} Its paths are as they were given to `jumpwire find`: start in the same folder, or "
                "put the file back."
            ) from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @property
    def model_inputs(self) -> ModelInputs:
        """Its model and SAEs."""
        names = [field.name for field in fields(ModelInputs)]
        return ModelInputs(**{name: self.arguments[name] for name in names if name in self.arguments})

    @property
    def metric(self) -> "Metric":
        """What the run measured."""
        from attribution.prompts.metric_names import metric_named

        return metric_named(self.choices.metric or METRIC_NAMES[0])

    def measured(self, loaded: Loaded) -> Loaded:
        """What the run measured, of everything that its inputs load: of a file, the pairs that found the circuit."""
        ran = self.choices
        if ran.per_pair:
            return replace(loaded, prompts=self._its_pair(loaded.prompts))
        if self.inputs.of_a_task or ran.validation is None:
            return loaded
        cut = self.inputs.file_parts(loaded.prompts, ran.validation, 0.0 if ran.held_out else ran.test)
        return replace(loaded, prompts=cut.train)

    def parted(self, loaded: Loaded) -> tuple[Loaded, OtherPairs]:
        """What found the circuit, of everything that the run's inputs load, and the pairs that did not."""
        ran = self.choices
        if ran.per_pair or ran.validation is None:
            return self.measured(loaded), OtherPairs()
        model = loaded.spliced.model
        judging = self.inputs.other_prompts(model, ran.other_examples, ran.held_out, self.metric)
        return self.inputs.parted(loaded, judging, validation=ran.validation, test=ran.test)

    def _its_pair(self, pairs: "PromptPairs") -> "PromptPairs":
        """Of the pairs of a run with a circuit for each, the one that found the circuit of this folder."""
        from attribution.prompts.prompt_pairs import PromptPairs

        certificate = load_circuit(self.folder / "circuit.json").certificate
        known = None if certificate is None else certificate.hashes["prompts"]
        return next((one for pair in pairs if (one := PromptPairs((pair,))).digest() == known), pairs)

    def effects(self) -> "Effects":
        """The run's effects of all nodes."""
        from attribution.effects.effects import Effects

        path = self.folder / "effects.parquet"
        if not path.is_file():
            raise FileNotFoundError(
                f"{self.folder} has no effects.parquet. A union or an intersection has the effects of its nodes alone: "
                "check the runs it was made of."
            )
        refuse_foreign(path)
        return Effects.read_parquet(path)


def refuse_unasked_code(file: Path, named: str | None, asked: str | None) -> None:
    """Refuse a metric that is Python code, which a file names, unless the user asks for it too.

    Raises:
        ValueError: the user did not.
    """
    if named is not None and ":" in named and named != asked:
        raise ValueError(
            f"{file}: its metric is {named}, a Python function. What a file names is not imported unasked: if it is "
            f"yours, add --metric {shlex.quote(named)}."
        )


@dataclass(frozen=True)
class CircuitFile:
    """A circuit, and the run that found it; None if there is no run.json beside the circuit."""

    path: Path
    circuit: CircuitGraph
    run: EarlierRun | None

    @classmethod
    def read(cls, path: str) -> "CircuitFile":
        """From a circuit.json, or the folder of a run of `find`."""
        file = Path(path) / "circuit.json" if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise FileNotFoundError(f"--circuit {path}: no such file.")
        refuse_foreign(file)
        circuit = load_circuit(file)
        if not file.with_name(RUN_FILE).is_file():
            return cls(file, circuit, None)
        return cls(file, circuit, EarlierRun.read(file.parent))

    def completed(self, chosen: Inputs) -> Inputs:
        """`chosen`, with those of the run that found the circuit wherever the user chose nothing.

        A task or file of pairs of the user's own replaces everything that the run says about prompts.
        """
        if self.run is None:
            return chosen
        own_prompts = any(given is not None for given in (chosen.task, chosen.pairs, chosen.prompt))
        ran = self.run.inputs_without(PROMPTS if own_prompts else ()).arguments()
        given = {k: v for k, v in chosen.arguments().items() if v != getattr(Inputs(), k)}
        return Inputs(**{**ran, **given})

    def measured(self, loaded: Loaded) -> Loaded:
        """The pairs that found the circuit, of everything that the inputs of its run load (`EarlierRun.measured`)."""
        return loaded if self.run is None else self.run.measured(loaded)

    def pairs_found_on(self, spliced: "SplicedModel") -> "PromptPairs | None":
        """The pairs that found the circuit; None if that is not known: the run's file of pairs is gone, or changed."""
        if self.run is None:
            return None
        try:
            loaded = self.run.inputs.loaded(spliced, self.run.metric)
        except (OSError, ValueError):
            return None
        return self.measured(loaded).prompts if loaded.prompts.digest() == self.run.hashes["prompts"] else None

    def found_on(self, spliced: "SplicedModel") -> "FoundOn | None":
        """The pairs that found the circuit, and the effects of all nodes in each of them; None if either is gone."""
        pairs = self.pairs_found_on(spliced)
        if pairs is None or self.run is None or not (self.run.folder / "effects.parquet").is_file():
            return None

        from attribution.prompts.position_names import scheme_of
        from circuits.ablation.causal_tests import FoundOn

        return FoundOn(pairs, self.run.effects(), scheme_of(pairs, self.run.choices.positions))

    def refuse_other_weights(self, hashes: Mapping[str, Any]) -> None:
        """A ValueError if the circuit says that it was found on another model, or on other SAEs at its sites."""
        known = self.circuit.measurement.inputs.get("hashes")
        if not isinstance(known, Mapping):
            return
        saes = known.get("saes", hashes["saes"])
        same = all(hashes["saes"].get(site) == saes.get(site) for site in self.circuit.sites)
        if known.get("model", hashes["model"]) != hashes["model"] or not same:
            raise ValueError(
                f"{self.path}: found on another model or other SAEs than these; its features mean nothing here. "
                "Give its --model and --saes."
            )
