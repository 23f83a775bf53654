"""Own paths as plain arrays, one row a path, a jump or a flip, that come back bit for bit."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from attribution.checking.own_path_walk import GateFlip, OwnPath, PathJump


def arrays_of_paths(paths: Sequence[OwnPath], sites: Sequence[str]) -> dict[str, np.ndarray]:
    """`jump.path` and `flip.jump` are the numbers of the path and the jump that a row belongs to."""
    jumps = [(number, jump) for number, path in enumerate(paths) for jump in path.jumps]
    flips = [(number, flip) for number, (_, jump) in enumerate(jumps) for flip in jump.flips]
    return {
        "key": np.array([path.key for path in paths], np.int64),
        "exact": np.array([path.exact for path in paths]),
        "smooth": np.array([path.smooth for path in paths]),
        "jump.path": np.array([number for number, _ in jumps], np.int64),
        "jump.alpha": np.array([jump.alpha for _, jump in jumps]),
        "jump.size": np.array([jump.size for _, jump in jumps]),
        "flip.jump": np.array([number for number, _ in flips], np.int64),
        "flip.site": np.array([sites.index(flip.site) for _, flip in flips], np.int64),
        "flip.position": np.array([flip.position for _, flip in flips], np.int64),
        "flip.index": np.array([flip.index for _, flip in flips], np.int64),
        "flip.opened": np.array([flip.opened for _, flip in flips], bool),
    }


def paths_of_arrays(arrays: Mapping[str, np.ndarray], sites: Sequence[str]) -> list[OwnPath]:
    """The inverse of `arrays_of_paths`."""
    columns: dict[str, list[Any]] = {name: values.tolist() for name, values in arrays.items()}
    flips: list[list[GateFlip]] = [[] for _ in columns["jump.path"]]
    names = ("flip.jump", "flip.site", "flip.position", "flip.index", "flip.opened")
    for jump, site, position, index, opened in zip(*(columns[n] for n in names), strict=True):
        flips[jump].append(GateFlip(sites[int(site)], position, index, opened))
    jumps: list[list[PathJump]] = [[] for _ in columns["key"]]
    of_jumps = (columns[n] for n in ("jump.path", "jump.alpha", "jump.size"))
    for path, alpha, size, own in zip(*of_jumps, flips, strict=True):
        jumps[path].append(PathJump(alpha, size, tuple(own)))
    of_paths = (columns[n] for n in ("key", "exact", "smooth"))
    return [OwnPath(key, exact, smooth, tuple(own)) for key, exact, smooth, own in zip(*of_paths, jumps, strict=True)]
