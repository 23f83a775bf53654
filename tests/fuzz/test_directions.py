"""Fuzz: files of a direction. What the reader accepts is one vector of finite numbers."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from safetensors.torch import save

from circuits.steering.directions import read_direction
from tests.fuzz.hostile_json import CORPUS, hostile_bytes, hostile_json
from tests.fuzz.test_weights import hostile_safetensors
from tests.fuzz.trial import fuzz

NUMBERS = [1.0, -2.0, 0.5]


def reads(path: Path) -> Callable[[bytes], None]:
    """Writes the file, and reads it."""

    def use(content: bytes) -> None:
        path.write_bytes(content)
        vector = read_direction(path)
        assert vector.ndim == 1
        assert bool(vector.isfinite().all())

    return use


@st.composite
def hostile_npy(draw: st.DrawFn) -> bytes:
    """An array of another type or shape, another header, or other bytes."""
    kinds = ["f2", "f4", ">f4", "f16", "i4", "U3", "M8[s]", "c8", "?", "O", "f4,f4"]
    shape = draw(st.sampled_from([(), (0,), (1,), (3,), (3, 1), (3, 2)]))
    entry = io.BytesIO()
    np.save(entry, np.ones(shape, draw(st.sampled_from(kinds))), allow_pickle=True)
    claimed = draw(st.sampled_from([*[str(shape)] * 6, "(2, 99999999999)", "(-1,)", "((", "f()", "(" * 500, "None"]))
    content = entry.getvalue().replace(str(shape).encode(), claimed.encode(), 1)
    return draw(hostile_bytes(content)) if draw(st.booleans()) else content


FILES: dict[str, st.SearchStrategy[bytes]] = {
    "json": hostile_json(NUMBERS),
    "npy": hostile_npy(),
    "safetensors": hostile_safetensors(save({"vector": torch.tensor(NUMBERS)})),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_direction_is_refused_in_a_sentence_or_is_a_vector(kind: str, tmp_path: Path) -> None:
    fuzz(f"direction (.{kind})", FILES[kind], reads(tmp_path / f"direction.{kind}"), (b"", *CORPUS))
