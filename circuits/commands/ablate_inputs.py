"""What `jumpwire ablate` works on: prompts of a task, a file or a text; nodes by name or of a circuit file."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from attribution.models.language_model import LanguageModel
from attribution.prompts.prompt_pairs import PromptPair, PromptPairs
from attribution.splice.edits import KEEP_ONLY, REMOVE, Operation, add, scale, set_to
from circuits.ablation.node_names import token_roles
from circuits.commands.inputs import Inputs
from graphs import CircuitGraph, load_circuit

OPERATIONS = ("remove", "keep-only", "set=V", "add=V", "scale=V")


def parse_operation(text: str) -> Operation:
    """The operation of its name; set, add and scale with a number."""
    plain = {"remove": REMOVE, "keep-only": KEEP_ONLY}
    if text in plain:
        return plain[text]
    name, _, number = text.partition("=")
    makers = {"set": set_to, "add": add, "scale": scale}
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if name in makers and math.isfinite(value):
        return makers[name](value)
    raise ValueError(f"No operation {text!r}. Choose one of: {', '.join(OPERATIONS)}, with V a number.")


@dataclass(frozen=True)
class CircuitFile:
    """A circuit, and what it was found on, where the run that found it lies beside it."""

    circuit: CircuitGraph
    inputs: Inputs | None

    @classmethod
    def read(cls, path: str) -> "CircuitFile":
        """A circuit file, or the folder of a run of find."""
        file = Path(path) / "circuit.json" if Path(path).is_dir() else Path(path)
        if not file.is_file():
            raise FileNotFoundError(f"--circuit {path}: no such file.")
        try:
            circuit = load_circuit(file)
        except json.JSONDecodeError as error:
            raise ValueError(f"{file}: not valid JSON ({error}).") from error
        run = file.with_name("run.json")
        if not run.is_file():
            return cls(circuit, None)
        return cls(circuit, Inputs.from_arguments(json.loads(run.read_text(encoding="utf-8"))["arguments"]))

    def completed(self, chosen: Inputs) -> Inputs:
        """The user's choice, and where there is none that of the run that found the circuit."""
        if self.inputs is None:
            return chosen
        own, found = chosen.arguments(), self.inputs.arguments()
        prompts = ("task", "pairs", "split", "examples")
        if chosen.task is not None or chosen.pairs is not None:
            found |= dict.fromkeys(prompts)
        return Inputs(**{k: v if v != getattr(Inputs(), k) else found[k] for k, v in own.items()})

    def refuse_other_weights(self, hashes: dict[str, Any], path: str) -> None:
        """A ValueError where the circuit's nodes are features of other SAEs or of another model."""
        known = self.circuit.measurement.inputs.get("hashes")
        if known is None:
            return
        same = all(hashes["saes"].get(site) == known["saes"].get(site) for site in self.circuit.sites)
        if hashes["model"] != known["model"] or not same:
            raise ValueError(f"{path}: found on another model or other SAEs; its features mean nothing here.")


def text_prompt(text: str, model: LanguageModel) -> PromptPairs:
    """A text as one pair without a contrast; answer and wrong answer are the model's two likeliest next tokens."""
    ids = tuple(model.token_ids(text))
    unknown = getattr(model.tokenizer, "unk_token_id", None)
    strange = [word for word in text.split() if unknown is not None and unknown in model.token_ids(word)]
    if strange:
        raise ValueError(f"--text {text!r}: the tokenizer does not know {', '.join(map(repr, strange))}.")
    with torch.no_grad():
        first, second = model.logits(torch.tensor([ids], device=model.device))[0, -1].topk(2).indices.tolist()
    return PromptPairs((PromptPair(ids, ids, first, second, token_roles(ids, model)),))
