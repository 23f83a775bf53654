"""What an earlier `find` left behind, read back: its run.json, its effects, its circuit.json."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from circuits.commands.inputs import Inputs, Loaded, OtherPairs
from circuits.commands.options import METRIC_NAMES
from graphs import CircuitGraph, load_circuit
from graphs.files.plain_json import parse_json
from graphs.files.text_file import read_text

if TYPE_CHECKING:
    from attribution.effects.effects import Effects
    from attribution.prompts.metrics import Metric
    from attribution.prompts.prompt_pairs import PromptPairs
    from attribution.splice.spliced_model import SplicedModel
    from circuits.ablation.causal_tests import FoundOn


@dataclass(frozen=True)
class EarlierRun:
    """The arguments of a run of `find` and the hashes of its model, SAEs and prompts, from run.json."""

    arguments: Mapping[str, Any]
    hashes: Mapping[str, Any]
    folder: Path

    @classmethod
    def read(cls, folder: Path) -> "EarlierRun":
        """Raises a FileNotFoundError if `folder` holds no run."""
        path = folder / "run.json"
        if not path.is_file():
            raise FileNotFoundError(f"{folder} has no run.json: not a run of `jumpwire find`.")
        content = parse_json(read_text(path))
        return cls(content["arguments"], content["hashes"], folder)

    @property
    def metric(self) -> "Metric":
        """What the run measured."""
        from attribution.prompts.metric_names import metric_named

        return metric_named(self.arguments.get("metric") or METRIC_NAMES[0])

    def measured(self, loaded: Loaded) -> Loaded:
        """What the run measured, of everything that its inputs load: of a file, the pairs that found the circuit."""
        inputs = Inputs.from_arguments(self.arguments)
        if self.arguments["per_pair"]:
            return replace(loaded, prompts=self._its_pair(loaded.prompts))
        if inputs.of_a_task or "validation" not in self.arguments:
            return loaded
        test = 0.0 if self.arguments["held_out"] else self.arguments["test"]
        cut = inputs.file_parts(loaded.prompts, self.arguments["validation"], test)
        return replace(loaded, prompts=cut.train)

    def parted(self, loaded: Loaded) -> tuple[Loaded, OtherPairs]:
        """What found the circuit, of everything that the run's inputs load, and the pairs that did not."""
        inputs, ran = Inputs.from_arguments(self.arguments), self.arguments
        if ran["per_pair"] or "validation" not in ran:
            return self.measured(loaded), OtherPairs()
        judging = inputs.other_prompts(loaded.spliced.model, ran["other_examples"], ran["held_out"], self.metric)
        return inputs.parted(loaded, judging, validation=ran["validation"], test=ran["test"])

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
        return Effects.read_parquet(path)


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
        try:
            circuit = load_circuit(file)
        except json.JSONDecodeError as error:
            raise ValueError(f"{file}: not valid JSON ({error}).") from error
        if not file.with_name("run.json").is_file():
            return cls(file, circuit, None)
        return cls(file, circuit, EarlierRun.read(file.parent))

    @property
    def inputs(self) -> Inputs | None:
        """Those of the run."""
        return None if self.run is None else Inputs.from_arguments(self.run.arguments)

    def completed(self, chosen: Inputs) -> Inputs:
        """`chosen`, with those of the run that found the circuit wherever the user chose nothing.

        A task or file of pairs of the user's own replaces everything that the run says about prompts.
        """
        ran = self.inputs
        if ran is None:
            return chosen
        own, found = chosen.arguments(), ran.arguments()
        prompts = ("task", "pairs", "split", "examples", "prompt", "counterfactual", "answer", "wrong")
        if any(given is not None for given in (chosen.task, chosen.pairs, chosen.prompt)):
            found |= dict.fromkeys(prompts)
        return Inputs(**{k: v if v != getattr(Inputs(), k) else found[k] for k, v in own.items()})

    def measured(self, loaded: Loaded) -> Loaded:
        """The pairs that found the circuit, of everything that the inputs of its run load (`EarlierRun.measured`)."""
        return loaded if self.run is None else self.run.measured(loaded)

    def pairs_found_on(self, spliced: "SplicedModel") -> "PromptPairs | None":
        """The pairs that found the circuit; None if that is not known: the run's file of pairs is gone, or changed."""
        if self.run is None or self.inputs is None:
            return None
        try:
            loaded = self.inputs.loaded(spliced, self.run.metric)
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

        return FoundOn(pairs, self.run.effects(), scheme_of(pairs, self.run.arguments.get("positions", "auto")))

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
