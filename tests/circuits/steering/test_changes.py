"""Changes by name: every form is read, what cannot be done is refused before a model is loaded."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from circuits.steering.changes import ChangeName, read_change, read_changes
from circuits.steering.directions import read_direction
from circuits.steering.steering import Steering
from tests.worlds.tiny_models import World

SITE = "blocks.0.hook_mlp_out"
PAIRS = PromptPairs(tuple(PromptPair(ids, ids, 3, 4) for ids in ((0, 5, 9, 3), (0, 7, 8))))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (f"{SITE}/27@verb:add=5", ChangeName(f"{SITE}/27@verb", "add", 5.0, False, False)),
        (f"{SITE}/27:add=-0.5max", ChangeName(f"{SITE}/27", "add", -0.5, True, False)),
        ("99:set=0", ChangeName("99", "set", 0.0, False, False)),
        ("99@-1:scale=2e1", ChangeName("99@-1", "scale", 20.0, False, False)),
        (f"{SITE}/direction@2:add=1", ChangeName(f"{SITE}/error@2", "add", 1.0, False, True)),
        (f"{SITE}/error:scale=0", ChangeName(f"{SITE}/error", "scale", 0.0, False, False)),
        (f"{SITE}/3@a:b:add=1", ChangeName(f"{SITE}/3@a:b", "add", 1.0, False, False)),
    ],
)
def test_every_form_is_read(text: str, read: ChangeName) -> None:
    assert read_change(text) == read


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (f"{SITE}/27", "says nothing to do"),
        (f"{SITE}/27:remove", "no change 'remove'"),
        (f"{SITE}/27:add=", "no change 'add='"),
        (f"{SITE}/27:add=nan", "no change 'add=nan'"),
        (f"{SITE}/27:set=1e39", "no change 'set=1e39'"),
        (f"{SITE}/27:add=max", "no change 'add=max'"),
        (f"{SITE}/27:scale=2max", "a factor counts no maxima"),
        ("token@2:add=1", "a token is no number"),
        (f"{SITE}/direction:set=1", "a direction can only be added"),
        (f"{SITE}/error:add=1", "an error is a vector"),
        ("mlp:add=1", "'mlp' is no node"),
        (f"{SITE}/27@:add=1", "must follow the @"),
    ],
)
def test_what_cannot_be_done_is_refused(text: str, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        read_change(text)


def test_no_changes_are_refused() -> None:
    with pytest.raises(ValueError, match="No changes: give a list"):
        read_changes([])


def test_strength_multiplies_what_is_added_and_set_and_moves_a_factor_from_one(llama_world: World) -> None:
    texts = [f"{SITE}/1:add=3", f"{SITE}/2:set=3", f"{SITE}/3:scale=3"]
    steering = Steering.named(texts, llama_world.spliced, PAIRS)
    value, nothing = torch.tensor([2.0]), torch.zeros(1)
    found = {s: [float(c.at(s).change(value, nothing)) for c in steering.changes] for s in (-1.0, 0.5, 1.0, 2.0)}
    assert found == {-1: [-1, -3, -2], 0.5: [3.5, 1.5, 4], 1: [5, 3, 6], 2: [8, 6, 10]}


def test_a_number_is_enough_where_saes_are_at_one_site(llama_world: World) -> None:
    spliced = llama_world.spliced
    only = Steering.named(["7@2:add=5", "3:set=0"], spliced.at_sites(SITE), PAIRS)
    whole = Steering.named([f"{SITE}/7@2:add=5", f"{SITE}/3:set=0"], spliced, PAIRS)
    assert only.changes == whole.changes
    with pytest.raises(ValueError, match=r"'7@2' names no site, and SAEs are at \d+\. Write blocks"):
        Steering.named(["7@2:add=5"], spliced, PAIRS)


def test_a_direction_is_used_where_it_is_given_and_fits(llama_world: World) -> None:
    spliced, text = llama_world.spliced, [f"{SITE}/direction:add=1"]
    width = spliced.saes[SITE].d_in
    for given, wanted in (
        (torch.ones(width), torch.ones(width).double()),
        ("blocks.1.hook_mlp_out/4", spliced.saes["blocks.1.hook_mlp_out"].W_dec[4]),
    ):
        (change,) = Steering.named(text, spliced, PAIRS, direction=given).changes
        assert change.direction is not None
        assert torch.equal(change.direction, wanted)
    for direction, match in (
        (None, "needs a direction"),
        (torch.ones(width + 1), f"has {width + 1} entries; the site that it is added to is {width} wide"),
        (torch.zeros(width), "is 0 everywhere"),
        (torch.full((width,), torch.nan), "finite numbers"),
        (f"{SITE}/error", "has no decoder direction"),
    ):
        with pytest.raises(ValueError, match=match):
            Steering.named(text, spliced, PAIRS, direction=direction)
    with pytest.raises(ValueError, match="A direction is given, and no change adds it"):
        Steering.named([f"{SITE}/1:add=1"], spliced, PAIRS, direction=torch.ones(width))
    with pytest.raises(ValueError, match="A direction of your own has no maximum"):
        Steering.named([f"{SITE}/direction:add=1max"], spliced, PAIRS, direction=torch.ones(width))


def saved_safetensors(path: Path) -> None:
    save_file({"vector": torch.tensor([[1.0, -2.0]])}, path)


WRITERS: dict[str, Callable[[Path], object]] = {
    "json": lambda path: path.write_text("[1, -2.0]"),
    "npy": lambda path: np.save(path, np.array([1.0, -2.0], dtype=np.float32)),
    "safetensors": saved_safetensors,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_direction_is_read_from_a_file_of_every_kind(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"mine.{kind}"
    WRITERS[kind](path)
    assert read_direction(path).tolist() == [1, -2]
    path.write_bytes(b"\x80\x04nothing of that kind")
    with pytest.raises(ValueError, match="it holds no list of numbers"):
        read_direction(path)


def test_a_file_without_one_vector_is_refused(tmp_path: Path) -> None:
    for name, content, match in (
        ("a.json", "[[1, 2], [3, 4]]", r"it holds no list of numbers \(numbers\[0\] is \[1, 2\]; expected a number"),
        ("b.json", '{"a": 1}', "it holds no list of numbers"),
        ("c.json", "[1, null]", "it holds no list of numbers"),
        ("d.txt", "1 2", "give a file that ends in .json, .npy, .safetensors"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=match):
            read_direction(tmp_path / name)
    for values, match in ((np.ones((2, 2)), r"it has shape \(2, 2\)"), (np.ones(2, int), "expected floating-point")):
        np.save(tmp_path / "e.npy", values)
        with pytest.raises(ValueError, match=match):
            read_direction(tmp_path / "e.npy")
    np.save(tmp_path / "e.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="it holds no list of numbers"):
        read_direction(tmp_path / "e.npy")
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "f.safetensors")
    with pytest.raises(ValueError, match="2 tensors, where one is meant"):
        read_direction(tmp_path / "f.safetensors")
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_direction(tmp_path / "none.npy")
