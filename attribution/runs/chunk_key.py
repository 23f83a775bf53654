"""The key of a chunk: sha256 over everything that its numbers depend on.

    this code, the libraries, the device      every source file of `attribution`, versions, kind of device
    the model, the SAEs                       weights and settings of each, sites, splice_bos, dtype
    the question                              metric, patch value with its content, error mode
    the method                                name, settings, what else it measures
    the chunk                                 token ids, answers and foils of its pairs; which nodes, if not all; what
                                              else differs from chunk to chunk, such as circuits and references

If any of these changes, so does the key. It leaves out threads, batch sizes and whatever else moves last digits only,
names of files, and hooks that other code installed on the model.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
import torch

from attribution.prompts.metrics import METRICS, Metric
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.chunk_file import CHUNK_FORMAT
from attribution.runs.chunk_store import ChunkStore
from attribution.splice.node_keys import keys_of_examples
from attribution.splice.patch_values import PatchValue
from attribution.splice.spliced_model import SplicedModel

_LIBRARIES: Final = ("torch", "transformer-lens", "transformers", "numpy")


@runtime_checkable
class HasDigest(Protocol):
    """Something with a hash of the numbers it stands for: a patch value, a reference."""

    def digest(self) -> str:
        """A text that is the same if and only if the numbers are the same."""
        ...


@dataclass(frozen=True)
class ChunkKeys:
    """The keys of one measurement's chunks. `common` is plain data that all chunks share; `only` are keys of nodes."""

    common: Mapping[str, Any]
    only: np.ndarray | None = None

    def key(self, pairs: PromptPairs, examples: range, **more: Any) -> str:
        """The key of the chunk of consecutive pairs, wherever they stand among all pairs.

        `more` is plain data on which this chunk also depends.
        """
        only = None if self.only is None else digest_of(keys_of_examples(self.only, examples))
        return key_of({**self.common, "pairs": [_plain_pair(pairs[e]) for e in examples], "only": only, **more})


def chunk_keys(
    store: ChunkStore,
    spliced: SplicedModel,
    metric: Metric,
    patch_value: PatchValue,
    *,
    only: np.ndarray | None = None,
    **method: Any,
) -> ChunkKeys:
    """The keys of a measurement whose chunks differ in their pairs.

    Args:
        only: keys of the measured nodes; None for all.
        method: what is measured and how, as plain data.

    Raises:
        ValueError: the metric is the user's own and has no version, or the patch value is and has no digest.
    """
    asked = {"patch_value": [patch_value.name, _patch_value(patch_value)], "method": method}
    nodes = None if only is None else np.unique(only)
    return ChunkKeys({**environment_of(store, spliced), "metric": metric_in_words(metric), **asked}, nodes)


def environment_of(store: ChunkStore, spliced: SplicedModel) -> dict[str, Any]:
    """What every number depends on, as plain data: code, libraries, precision, weights, and whether BOS is spliced."""
    return {
        "format": CHUNK_FORMAT,
        "code": _code(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "matmul": torch.get_float32_matmul_precision(),
        "weights": weights_of(store, spliced),
        "splice_bos": spliced.splice_bos,
    }


def key_of(content: Mapping[str, Any]) -> str:
    """sha256 over plain data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def digest_of(numbers: np.ndarray) -> str:
    """sha256 over whole numbers, in their order."""
    return hashlib.sha256(np.ascontiguousarray(numbers, np.int64).tobytes()).hexdigest()


def weights_of(store: ChunkStore, spliced: SplicedModel) -> dict[str, Any]:
    """Digests of the model and its SAEs, with the model's settings and kind of device.

    Computed once for each store, and again after a tensor was written to. (A write through `.data` goes unnoticed.)
    """
    tensors = [*spliced.model.module.state_dict().values()]
    tensors += [tensor for sae in spliced.saes.values() for tensor in sae.tensors().values()]
    state = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
    before = store.digests.get(spliced)
    if before is not None and before[0] == state:
        assert isinstance(before[1], dict)
        return before[1]
    found = {
        "model": spliced.model.digest(),
        "settings": spliced.model.settings(),
        "device": spliced.model.device.type,
        "saes": [[site, sae.digest()] for site, sae in spliced.saes.items()],
    }
    store.digests[spliced] = state, found
    return found


@cache
def _code() -> str:
    """sha256 over the source files of `attribution`: other code may give other numbers."""
    folder, sha = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        sha.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return sha.hexdigest()


def metric_in_words(metric: Metric) -> list[str]:
    """The metric as plain data; the version of one that is the user's own."""
    if METRICS.get(metric.name) is metric:
        return [metric.name, "built in"]
    if metric.version is None:
        raise ValueError(
            f"The metric {metric.name!r} is a function of your own, and its name does not tell what it computes. Give "
            "it a version, Metric(..., version='1'), and change the version whenever the function changes; or measure "
            "without keeping chunks."
        )
    return [metric.name, metric.unit, metric.version]


def _patch_value(patch_value: PatchValue) -> str:
    if not isinstance(patch_value, HasDigest):
        raise ValueError(
            f"The patch value {patch_value.name!r} is your own, and its name does not tell its numbers. Give it a "
            "method digest() that returns another text whenever they change; or measure without keeping chunks."
        )
    return patch_value.digest()


def _plain_pair(pair: PromptPair) -> list[Any]:
    return [list(pair.clean_ids), list(pair.patch_ids), pair.answer_id, pair.foil_id]
