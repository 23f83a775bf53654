"""The carried models compute what tracr's do and what the programs say; the exact SAEs lose nothing."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from attribution.dictionaries import JumpReLU, ReLU
from benchmarks.programs.compiled_model import Compiled, load_compiled
from benchmarks.programs.exact_saes import splice_exactly
from benchmarks.programs.folder import FOLDER
from benchmarks.programs.library import PROGRAMS
from benchmarks.programs.rasp import Mixture, Place, Value, run_program

NEEDS_TRACR = pytest.mark.skipif(
    importlib.util.find_spec("tracr") is None, reason="tracr is not installed: pip install 'jumpwire[tracr]'"
)


@pytest.fixture(scope="module", params=PROGRAMS)
def compiled(request: pytest.FixtureRequest) -> Compiled:
    return load_compiled(request.param)


def last_outputs(compiled: Compiled) -> torch.Tensor:
    with torch.no_grad():
        logits = compiled.model.logits(compiled.prompts)[:, -1]
    return logits[:, 1 + len(compiled.program.alphabet) :]


def test_outputs_equal_tracrs(compiled: Compiled) -> None:
    assert len(compiled.prompts) >= 60
    assert (last_outputs(compiled) - compiled.expected).abs().max() < 1e-5


def as_the_program_says(compiled: Compiled, value: Value) -> list[float]:
    """The output dimensions that a value stands for."""
    if compiled.program.output.numerical:
        assert isinstance(value, float)
        return [value]
    names = [compiled.residual[n].split(":")[1] for n in compiled.outputs]
    parts = value.parts if isinstance(value, Mixture) else () if value is None else ((value, 1.0),)
    shares = {str(v): share for v, share in parts}
    return [shares.get(name, 0.0) for name in names]


def test_outputs_are_what_the_program_says(compiled: Compiled) -> None:
    output, last = compiled.program.output, compiled.program.length - 1
    for ids, found in zip(compiled.prompts.tolist(), last_outputs(compiled).tolist(), strict=True):
        tokens = [compiled.program.alphabet[i - 1] for i in ids[1:]]
        answer = run_program(output, tokens)[Place(output.name, last)]
        assert found == pytest.approx(as_the_program_says(compiled, answer), abs=1e-3), tokens


@pytest.mark.parametrize("kind", [ReLU, JumpReLU])
def test_the_residual_basis_is_an_exact_sae(compiled: Compiled, kind: type[ReLU] | type[JumpReLU]) -> None:
    spliced = splice_exactly(compiled, kind)
    answers = [
        run_program(compiled.program.output, [compiled.program.alphabet[i - 1] for i in ids])
        for ids in compiled.prompts[:, 1:].tolist()
    ]
    whole = [not any(isinstance(value, Mixture) for value in values.values()) for values in answers]
    ids = compiled.prompts[torch.tensor(whole)][:40]
    assert len(ids) > 5
    run_of = spliced.record(ids, torch.full((len(ids),), ids.shape[1] - 1))
    worst = max(float(record.error.abs().max()) for record in run_of.sites.values() if record.error is not None)
    assert worst == 0 if kind is ReLU else worst < 1e-5


def test_an_unknown_program_is_an_error() -> None:
    with pytest.raises(LookupError, match=r"No program 'quicksort'\. Programs: reverse, sort"):
        load_compiled("quicksort")


@NEEDS_TRACR
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_files_are_what_tracr_compiles(name: str, tmp_path: Path) -> None:
    from benchmarks.programs.compile_programs import write_compiled

    write_compiled(PROGRAMS[name], tmp_path)
    old, new = (json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for folder in (FOLDER, tmp_path))
    assert old.pop("expected") == [pytest.approx(row, abs=1e-5) for row in new.pop("expected")]
    assert old == new
    weights, again = (load_file(folder / f"{name}.safetensors") for folder in (FOLDER, tmp_path))
    assert weights.keys() == again.keys()
    for key, weight in weights.items():
        torch.testing.assert_close(weight, again[key])
