"""The files of ablations: one of other arguments is never overwritten, the same command replaces its own."""

import json
from pathlib import Path

from circuits.ablation.ablation_file import write_ablation


def test_ablations_of_other_arguments_get_a_number_and_the_same_one_replaces_its_own(tmp_path: Path) -> None:
    path = tmp_path / "ablation.json"
    for arguments, result, name in (
        ({"op": "remove", "nodes": ("a",)}, 1, "ablation.json"),
        ({"op": "keep-only", "nodes": ("a",)}, 2, "ablation-2.json"),
        ({"op": "set=1", "nodes": ("a",)}, 3, "ablation-3.json"),
        ({"op": "keep-only", "nodes": ("a",)}, 4, "ablation-2.json"),
        ({"op": "remove", "nodes": ("a",)}, 5, "ablation.json"),
    ):
        assert write_ablation(path, {"arguments": arguments, "result": result}) == tmp_path / name
        assert json.loads((tmp_path / name).read_text())["result"] == result
    assert sorted(file.name for file in tmp_path.iterdir()) == ["ablation-2.json", "ablation-3.json", "ablation.json"]


def test_what_is_no_ablation_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "ablation.json"
    for number, content in enumerate(("{", "[]", "{}", '{"arguments": null}')):
        taken = path if number == 0 else tmp_path / f"ablation-{number + 1}.json"
        taken.write_text(content)
        written = write_ablation(path, {"arguments": {"op": "remove"}})
        assert written == tmp_path / f"ablation-{number + 2}.json"
        assert taken.read_text() == content
        written.unlink()
