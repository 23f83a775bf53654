"""A node's own path: the exact effect of patching one node, split into smooth parts and jumps.

    f_u(α) = c_u + α (p_u − c_u), everything downstream as the model computes it
    exact(u) = Σ over smooth pieces ∫ (dm/dα) dα + Σ over flips [m(α+) − m(α−)]

Between two flips of downstream gates the metric is smooth in α, and its change is integrated by Gauss-Legendre. A flip
is located by bisection; its jump is the change over the last interval minus slope · width. Intervals are halved until
both ends have the same open gates and the integral equals the difference of the metric. So a gate that flips and flips
back within an interval is found if a point of the integral lies in between. The residual is exact(u) minus all parts.
Source: METHODS of this project.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from attribution.checking.own_path_walk import GateFlip, OwnPath, PathJump, PathValues, Walk
from attribution.dictionaries.kinds.pursuit import refuse_pursuits
from attribution.effects.effects import Effects
from attribution.effects.measurement import prepare
from attribution.effects.patches import all_patches
from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.prompts.question_types import refuse_other_types
from attribution.runs.chunk_file import Arrays
from attribution.runs.chunk_key import chunk_keys
from attribution.runs.chunk_store import ChunkStore, KeepPart, kept_chunk
from attribution.runs.progress import Progress, progress_between, silent
from attribution.runs.time_limit import NO_LIMIT, TimeLimit, TimeUp
from attribution.splice.node_keys import node_keys, node_of_key, shifted_keys
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.recording import ErrorMode
from attribution.splice.spliced_model import SplicedModel

__all__ = ["GateFlip", "OwnPath", "PathJump", "PathValues", "own_paths", "path_values"]

STAGE: Final = "own_paths"
_RUNS_OF_A_NODE: Final = 16
"""Points of a node's path that are evaluated together, about."""


def own_paths(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    nodes: Effects,
    *,
    error_mode: ErrorMode = "frozen",
    patch_value: PatchValue = counterfactual,
    batch_size: int = 16,
    runs_at_once: int = 256,
    rtol: float = 1e-5,
    resolution: float = 1e-4,
    limit: TimeLimit = NO_LIMIT,
    progress: Progress = silent,
) -> dict[int, OwnPath]:
    """The own paths of some nodes, by the nodes' keys (`Effects.keys`).

    Where chunks are kept (`attribution/runs`), each batch is a chunk. The nodes of one site and kind are a part of it.

    Args:
        spliced, pairs, metric, patch_value, batch_size, progress: as in `attribution_patching`.
        nodes: the nodes, as a subset of any method's effects over the same pairs and sites.
        error_mode: `frozen`, `zero`, or `live`, in which no gate is met and nothing jumps.
        runs_at_once: patched runs in one forward pass.
        rtol: largest difference allowed between the integral over a smooth piece and the change of the metric there,
            as a share of exact(u).
        resolution: flips closer together than this, in α, count as one jump.
        limit: the walk ends with TimeUp when the time is over; what chunks keep is kept.

    Raises:
        ValueError: pairs that do not fit the model, or an SAE without a gradient.
    """
    refuse_other_types(pairs, metric, patch_value)
    refuse_pursuits(spliced.saes, "own_paths")
    pairs.check_fits(spliced.model, splice_bos=spliced.splice_bos)
    wanted, done = nodes.keys(), 0
    found: dict[int, OwnPath] = {}

    def walked(examples: range, keep: KeepPart) -> Arrays:
        """The paths of one batch; keys count examples from its first, in the chunk and in its parts."""
        batch, paths = pairs.batch(examples, spliced.model.device, metric.positions), list[OwnPath]()
        situation = prepare(spliced, batch, metric, error_mode, patch_value)
        for number, patch in enumerate(all_patches(situation, wanted)):
            walk = Walk(situation, patch, runs_at_once, rtol, resolution, limit)
            part = keep(f"walk-{number}", partial(walked_part, walk, -examples.start))
            paths += paths_of_arrays(part, spliced.sites)
            progress((done + len(paths)) / len(wanted))
        return arrays_of_paths(paths, spliced.sites)

    def walked_part(walk: Walk, examples_on: int) -> Arrays:
        return _with_shifted_keys(arrays_of_paths(list(walk.paths()), spliced.sites), examples_on)

    def key(examples: range, store: ChunkStore) -> str:
        about = {"name": STAGE, "error_mode": error_mode, "rtol": rtol, "resolution": resolution}
        return chunk_keys(store, spliced, metric, patch_value, only=wanted, **about).key(pairs, examples)

    with spliced.model.frozen():
        for examples in pairs.cut(batch_size, spliced.model.lengths):
            if not np.isin(np.arange(examples.start, examples.stop), nodes.example).any():
                continue
            chunk = kept_chunk(STAGE, partial(key, examples), partial(walked, examples))
            found |= {
                path.key: path for path in paths_of_arrays(_with_shifted_keys(chunk, examples.start), spliced.sites)
            }
            done = len(found)
            progress(done / len(wanted))
    return found


def own_paths_in_time(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    nodes: Effects,
    order: Sequence[int],
    limit: TimeLimit,
    *,
    runs_at_once: int = 256,
    progress: Progress = silent,
    **options: Any,
) -> dict[int, OwnPath]:
    """As `own_paths`, of as many nodes as the time allows.

    Args:
        order: numbers of nodes, in the order in which they are walked: as many together as fill a forward pass.
        options: as in `own_paths`.
    """
    found: dict[int, OwnPath] = {}
    together = max(1, runs_at_once // _RUNS_OF_A_NODE)
    for start in range(0, len(order), together):
        own = sorted(order[start : start + together])
        told = progress_between(progress, start / len(order), min(1.0, (start + together) / len(order)))
        try:
            given = spliced, pairs, metric, nodes.subset(np.array(own))
            found |= own_paths(*given, runs_at_once=runs_at_once, limit=limit, progress=told, **options)
        except TimeUp:
            break
    return found


def _with_shifted_keys(arrays: Arrays, examples_on: int) -> Arrays:
    return {**arrays, "key": shifted_keys(arrays["key"], examples_on)}


def path_values(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric,
    node: Effects,
    gates: tuple[GateFlip, ...] = (),
    *,
    error_mode: ErrorMode = "frozen",
    patch_value: PatchValue = counterfactual,
    points: int = 65,
    runs_at_once: int = 64,
    limit: TimeLimit = NO_LIMIT,
) -> PathValues:
    """The metric, its slope and margins of gates at equidistant points of one node's own path.

    Args:
        spliced, pairs, metric, error_mode, patch_value: as in `own_paths`.
        node: effects with one entry, the node.
        gates: the gates whose margins are traced.
        points: number of points, both ends included.
        runs_at_once: runs in one forward pass.
        limit: raises TimeUp when the time is over.

    Raises:
        ValueError: `node` has not exactly one entry.
        LookupError: the node has the same value in both prompts.
    """
    refuse_other_types(pairs, metric, patch_value)
    if len(node) != 1:
        raise ValueError(f"One node has one path; got {len(node)} nodes. Give effects with one entry.")
    one = PromptPairs((pairs[int(node.example[0])],))
    key = node_keys(node.example * 0, node.position, node.index, site=node.site, kind=node.kind)
    with spliced.model.frozen():
        batch = one.batch(device=spliced.model.device, reads=metric.positions)
        situation = prepare(spliced, batch, metric, error_mode, patch_value)
        found = all_patches(situation, key)
        if not found:
            raise LookupError(f"{node_of_key(int(node.keys()[0]), node.sites)} has the same value in both prompts.")
        return Walk(situation, found[0], runs_at_once, 0.0, 0.0, limit).trace(gates, points)


def arrays_of_paths(paths: Sequence[OwnPath], sites: Sequence[str]) -> dict[str, np.ndarray]:
    """Paths as plain arrays, with one row for each path, jump or flip.

    `jump.path` is the number of the path that a jump lies on, `flip.jump` the number of the jump that a flip causes.
    """
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
