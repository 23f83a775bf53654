"""The key of a chunk: sha256 over everything that its numbers depend on.

    code, libraries, device      every source file of `attribution`, versions, kind of device
    model and SAEs               weights and settings of each, sites, splice_bos, dtype
    question                     metric, patch value with its numbers, error mode
    method                       name, settings, and what else it measures
    chunk                        token ids, answers and foils of its pairs; the measured nodes, unless all are; and
                                 whatever else differs from chunk to chunk, such as circuits and references

If any of these changes, the key changes. The key leaves out three things: what moves the last digits only, such as the
number of threads and batch sizes; names of files; and hooks that other code installed on the model.
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

from attribution.prompts.metrics import BUILT_IN, METRICS, Metric
from attribution.prompts.prompt_pairs import PromptPairs, plain_pair
from attribution.runs.chunk_file import CHUNK_FORMAT
from attribution.runs.chunk_store import ChunkStore
from attribution.splice.node_keys import keys_of_examples
from attribution.splice.patch_values import PatchValue
from attribution.splice.spliced_model import SplicedModel

_LIBRARIES: Final = ("torch", "transformer-lens", "transformers", "numpy")


@runtime_checkable
class HasDigest(Protocol):
    """Something that stands for numbers, such as a patch value or a reference, and can hash them."""

    def digest(self) -> str:
        """A text that is the same if and only if the numbers are the same."""
        ...


@dataclass(frozen=True)
class ChunkKeys:
    """The keys of one measurement's chunks.

    Attributes:
        common: plain data that all chunks share.
        only: keys of the measured nodes; None if all nodes are measured.
    """

    common: Mapping[str, Any]
    only: np.ndarray | None = None

    def key(self, pairs: PromptPairs, examples: range, **more: Any) -> str:
        """The key of the chunk of some consecutive pairs. Where they stand among all pairs does not matter.

        `more` is further plain data that this chunk depends on.
        """
        only = None if self.only is None else digest_of(keys_of_examples(self.only, examples))
        return key_of(
            {**self.common, "pairs": [[*plain_pair(pairs[e]), pairs[e].roles] for e in examples], "only": only, **more}
        )


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
        ValueError: a user's own metric has no version, or a user's own patch value has no digest.
    """
    question = {"patch_value": [patch_value.name, _digest_of_patch_value(patch_value)], "method": method}
    nodes = None if only is None else np.unique(only)
    return ChunkKeys({**environment_of(store, spliced), "metric": metric_in_words(metric), **question}, nodes)


def environment_of(store: ChunkStore, spliced: SplicedModel) -> dict[str, Any]:
    """What every measurement depends on, as plain data: code, libraries, precision, weights, and `splice_bos`."""
    return {
        "format": CHUNK_FORMAT,
        "code": _digest_of_code(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "matmul": torch.get_float32_matmul_precision(),
        "weights": weights_of(store, spliced),
        "splice_bos": spliced.splice_bos,
    }


def key_of(content: Mapping[str, Any]) -> str:
    """sha256 over plain data. The order of its keys does not matter."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def digest_of(numbers: np.ndarray) -> str:
    """sha256 over whole numbers. Their order matters."""
    return hashlib.sha256(np.ascontiguousarray(numbers, np.int64).tobytes()).hexdigest()


def weights_of(store: ChunkStore, spliced: SplicedModel) -> dict[str, Any]:
    """Digests of the model and its SAEs, with the model's settings and kind of device.

    They are computed once for each store, and again after a tensor was written to. A write through `.data` goes
    unnoticed.
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
def _digest_of_code() -> str:
    """sha256 over the source files of `attribution`: other code may give other numbers."""
    folder, sha = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        sha.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return sha.hexdigest()


def metric_in_words(metric: Metric) -> list[str]:
    """The metric as plain data, with the version of a user's own metric.

    Raises:
        ValueError: a user's own metric has no version.
    """
    if METRICS.get(metric.name) is metric:
        return [metric.name, BUILT_IN]
    if metric.version is None:
        raise ValueError(
            f"The metric {metric.name!r} is your own function, and kept chunks cannot tell when it changes. Give it a "
            "version, Metric(..., version='1'), and another version whenever the function changes; or measure without "
            "keeping chunks."
        )
    at = [] if metric.at is None else [f"at {name}" for name in metric.at]
    return [metric.name, metric.unit, metric.version, *at]


def _digest_of_patch_value(patch_value: PatchValue) -> str:
    if not isinstance(patch_value, HasDigest):
        raise ValueError(
            f"The patch value {patch_value.name!r} is your own, and kept chunks cannot tell when its numbers change. "
            "Give it a method digest() that returns another text whenever they change; or measure without keeping "
            "chunks."
        )
    return patch_value.digest()
