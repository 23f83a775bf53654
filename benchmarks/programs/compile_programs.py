"""Compile the programs with tracr into small files: weights, names of the residual dimensions, expected outputs.

    python -m benchmarks.programs.compile_programs [--out FOLDER]          needs: pip install 'jumpwire[tracr]'

The files are part of the project, so that nothing else needs tracr.
"""

import argparse
import json
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tracr.compiler.assemble import AssembledTransformerModel
from tracr.compiler.compiling import compile_rasp_to_model
from tracr.rasp import rasp

from benchmarks.programs.folder import FOLDER
from benchmarks.programs.library import PROGRAMS, Program
from benchmarks.programs.rasp import (
    INDICES,
    TOKENS,
    Average,
    Count,
    Linear,
    Map,
    Pairwise,
    Share,
    Variable,
    variables,
)

BOS, PAD = "BOS", "PAD"
_PROMPTS = 200


def in_tracr(output: Variable) -> tuple[rasp.SOp, dict[str, str]]:
    """The program in tracr's own language, and our names of the variables by tracr's labels."""
    made: dict[Variable, Any] = {TOKENS: rasp.tokens, INDICES: rasp.indices}
    names = {"tokens": "tokens", "indices": "indices"}
    for variable in variables(output):
        if variable not in made:
            made[variable] = _one(variable, made)
            names[made[variable].label] = variable.name
            if isinstance(variable, Count):
                names[f"{made[variable].label}_selector_width_attn_output"] = variable.share.name
    return made[output], names


def _one(variable: Variable, made: Mapping[Variable, Any]) -> Any:
    match variable:
        case Map():
            found = rasp.Map(variable.f, made[variable.of], simplify=False)
        case Linear():
            first, second = made[variable.first], made[variable.second]
            found = rasp.LinearSequenceMap(first, second, variable.first_factor, variable.second_factor)
        case Pairwise():
            found = rasp.SequenceMap(variable.f, made[variable.first], made[variable.second])
        case Average():
            selector = rasp.Select(made[variable.keys], made[variable.queries], variable.predicate)
            found = rasp.Aggregate(selector, made[variable.values], default=0 if variable.numerical else None)
        case Share():
            return rasp.Select(made[variable.keys], made[variable.queries], variable.predicate).named(variable.name)
        case Count():
            found = rasp.SelectorWidth(made[variable.share])
        case _:
            raise TypeError(f"{type(variable).__name__} has no counterpart in tracr.")
    found = found.named(variable.name)
    return rasp.numerical(found) if variable.numerical else rasp.categorical(found)


def compiled(program: Program) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Weights and description of one program."""
    output, names = in_tracr(program.output)
    model = compile_rasp_to_model(output, set(program.alphabet), program.length, compiler_bos=BOS, compiler_pad=PAD)
    labels = [_renamed(label, names) for label in model.residual_labels]
    outputs = [n for n, label in enumerate(labels) if label.split(":")[0] == program.output.name]
    weights = _weights(model, (BOS, *program.alphabet))
    prompts = _prompts(program)
    return weights, {
        "program": program.name,
        "heads": model.model_config.num_heads,
        "tokens": [BOS, *program.alphabet],
        "residual": labels,
        "outputs": outputs,
        "prompts": prompts,
        "expected": [[round(float(v), 7) for v in row[outputs]] for row in _expected(model, program, prompts)],
    }


def _renamed(label: str, names: Mapping[str, str]) -> str:
    variable, _, value = label.partition(":")
    return f"{names.get(variable, variable)}:{value}" if value else names.get(variable, variable)


def _weights(model: AssembledTransformerModel, tokens: tuple[Any, ...]) -> dict[str, np.ndarray]:
    assert model.input_encoder is not None
    rows = [model.input_encoder.encoding_map[token] for token in tokens]
    found = {
        "embed": np.asarray(model.params["token_embed"]["embeddings"])[rows],
        "pos_embed": np.asarray(model.params["pos_embed"]["embeddings"]),
    }
    for layer in range(model.model_config.num_layers):
        for ours, theirs in (("query", "attn/query"), ("key", "attn/key"), ("value", "attn/value")):
            found[f"blocks.{layer}.{ours}"] = _weight(model, f"layer_{layer}/{theirs}")
        found[f"blocks.{layer}.out"] = _weight(model, f"layer_{layer}/attn/linear")
        found[f"blocks.{layer}.up"] = _weight(model, f"layer_{layer}/mlp/linear_1")
        found[f"blocks.{layer}.down"] = _weight(model, f"layer_{layer}/mlp/linear_2")
    return {name: np.ascontiguousarray(weight, np.float32) for name, weight in found.items()}


def _weight(model: AssembledTransformerModel, name: str) -> np.ndarray:
    module = model.params[f"transformer/{name}"]
    if np.any(module["b"]):
        raise ValueError(f"{name} has a bias; the carried model has none.")
    return np.asarray(module["w"])


def _prompts(program: Program) -> list[list[int]]:
    """All prompts of the full length, or a fixed sample of them, as token ids with BOS first."""
    every = [[0, *ids] for ids in product(range(1, len(program.alphabet) + 1), repeat=program.length)]
    if len(every) <= _PROMPTS:
        return every
    return [every[n] for n in np.random.default_rng(0).choice(len(every), _PROMPTS, replace=False)]


def _expected(model: AssembledTransformerModel, program: Program, prompts: list[list[int]]) -> np.ndarray:
    """tracr's residual stream after the last layer at the last position."""
    assert model.input_encoder is not None
    known = np.array([model.input_encoder.encoding_map[token] for token in (BOS, *program.alphabet)])
    return np.asarray(model.forward(model.params, known[prompts]).transformer_output.output)[:, -1]


def write_compiled(program: Program, folder: Path) -> None:
    """Compile one program and write its two files."""
    weights, description = compiled(program)
    save_file(weights, folder / f"{program.name}.safetensors")
    (folder / f"{program.name}.json").write_text(json.dumps(description) + "\n", encoding="utf-8")


def main() -> None:
    """Compile every program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FOLDER)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for program in PROGRAMS.values():
        write_compiled(program, out)
        print(f"{program.name}: written")


if __name__ == "__main__":
    main()
