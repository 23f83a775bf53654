"""The arrays of a chunk by name.

    nodes.<column>           the columns of `Effects`
    clean_metric, total_effect, residual      one number a pair
    beside.<batch>.<name>    what else a method found in each batch

Examples are counted from the chunk's first pair, so that a chunk holds wherever its pairs stand.
"""

from collections.abc import Mapping

import numpy as np

NODES, BESIDE = "nodes.", "beside."


def with_prefix(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names open with `prefix`, under the rest of their names."""
    return {name.removeprefix(prefix): values for name, values in arrays.items() if name.startswith(prefix)}


def batches_beside(chunk: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """What the batches of a chunk found beside effects."""
    numbers = sorted({int(name.split(".")[1]) for name in chunk if name.startswith(BESIDE)})
    return [with_prefix(f"{BESIDE}{number}.", chunk) for number in numbers]


def moved(arrays: Mapping[str, np.ndarray], by: int) -> dict[str, np.ndarray]:
    """The same arrays with every column of example numbers moved."""
    return {name: values + by if name.split(".")[-1] == "example" else values for name, values in arrays.items()}
