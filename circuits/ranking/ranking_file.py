"""Write the ranking of a dataset as a Parquet file (for pandas, polars, duckdb), and read it back without loss.

    node                 string   the node's name: blocks.3.hook_mlp_out/117@verb
    kind                 string   feature, error or token
    site                 string   of features and errors
    position             string   the name of the node's position
    index                int64    of features
    effect, mean_absolute, standard_error
                         double   over all examples, in the unit of the measurement
    clean, patch         double   means over the examples in which the node changes; feature: activation; error: L2 norm
    count, verified      int64    how many examples change the node, and in how many of them it was patched exactly
    examples, example_effects     lists: the examples with the largest |effect|, strongest first; counted from 0

The metadata of the schema describes the numbers under the key `jumpwire`, as JSON: method, metric, unit, sign, error
mode, patch value, settings, number of examples, mean total effect, sites, positions and what their names mean, and the
examples that were left out because their metric is not finite, and the warnings.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from circuits.ranking.aggregate import Ranking, node_at
from circuits.ranking.dataset import DatasetRanking
from circuits.ranking.ranking_schema import RankingHead, RankingRow
from graphs import ErrorNode, FeatureNode, MetricNode, Position, WeightedNode
from graphs.cautions import caution_from_plain
from graphs.files.parquet_file import parsed_head, read_parquet, write_parquet
from graphs.files.typed_content import typed
from graphs.plain_data import as_plain_data

SCHEMA_VERSION: Final = 1
_WORDS: Final = ("examples", "total_effect", "metric", "unit", "sign", "error_mode", "patch_value", "positions_mean")
_NUMBERS: Final = ("effect", "mean_absolute", "standard_error", "clean", "patch")
_COUNTS: Final = ("count", "verified")


def write_ranking(found: DatasetRanking, path: str | Path, chunks: Mapping[str, Any] | None = None) -> None:
    """Write a ranking. `chunks` records, as plain data, which chunks were kept and which were reused."""
    ranking = found.ranking
    about = {
        "schema_version": SCHEMA_VERSION,
        "method": ranking.method,
        **{name: getattr(found, name) for name in _WORDS},
        "settings": dict(found.settings),
        "sites": ranking.sites,
        "positions": [[p.label, p.clean_token, p.patch_token] for p in ranking.positions],
        "left_out": {str(example): fault for example, fault in found.left_out.items()},
        "undecided": found.undecided,
        "warnings": as_plain_data(found.warnings),
        "chunks": chunks,
    }
    table = _table(found).replace_schema_metadata({b"jumpwire": json.dumps(about).encode()})
    write_parquet(table, path)


def read_ranking(path: str | Path) -> DatasetRanking:
    """Read and check a file of `write_ranking`; any other file is a ValueError."""
    table, text = read_parquet(path)
    about = {} if text is None else parsed_head(path, text)
    if not isinstance(about, dict) or "positions_mean" not in about:
        raise ValueError(f"{path}: not a ranking of jumpwire (no such metadata). `jumpwire rank` writes one.")
    if about.get("schema_version") != SCHEMA_VERSION:
        raise ValueError(f"{path}: schema version {about.get('schema_version')}; this version reads {SCHEMA_VERSION}.")
    try:
        return _ranking(table, typed(RankingHead, about))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _ranking(table: pa.Table, head: RankingHead) -> DatasetRanking:
    positions = tuple(Position(*own) for own in head.positions)
    place = {position.label: n for n, position in enumerate(positions)}
    rows = [typed(RankingRow, row) for row in table.to_pylist()]
    nodes = tuple(_node(row, place, head.sites) for row in rows)
    return DatasetRanking(
        ranking=Ranking(head.method, tuple(head.sites), positions, nodes),
        strongest=tuple(tuple(zip(r.examples, r.example_effects, strict=True)) for r in rows),
        settings=head.settings,
        left_out={int(example): fault for example, fault in head.left_out.items()},
        undecided=head.undecided,
        warnings=tuple(map(caution_from_plain, head.warnings)),
        **{name: getattr(head, name) for name in _WORDS},
    )


def _table(found: DatasetRanking) -> pa.Table:
    weighted, positions = found.ranking.nodes, found.ranking.positions
    nodes = [w.node for w in weighted if not isinstance(w.node, MetricNode)]
    sites = [node.site if isinstance(node, FeatureNode | ErrorNode) else None for node in nodes]
    indices = [node.index if isinstance(node, FeatureNode) else None for node in nodes]
    return pa.table(
        {
            "node": [found.name(node) for node in nodes],
            "kind": [node.kind for node in nodes],
            "site": pa.array(sites, pa.string()),
            "position": [positions[node.position].label for node in nodes],
            "index": pa.array(indices, pa.int64()),
            **{name: pa.array([getattr(w, name) for w in weighted], pa.float64()) for name in _NUMBERS},
            **{name: pa.array([getattr(w, name) for w in weighted], pa.int64()) for name in _COUNTS},
            "examples": pa.array([[e for e, _ in own] for own in found.strongest], pa.list_(pa.int64())),
            "example_effects": pa.array([[v for _, v in own] for own in found.strongest], pa.list_(pa.float64())),
        }
    )


def _node(row: RankingRow, place: Mapping[str, int], sites: Sequence[str]) -> WeightedNode:
    if row.position not in place or (row.kind != "token" and row.site not in sites):
        raise ValueError(f"a node lies at {row.site!r} and {row.position!r}, which the file does not list.")
    if (row.index is None) == (row.kind == "feature") or len(row.examples) != len(row.example_effects):
        raise ValueError(f"a node at {row.site!r} and {row.position!r} lacks its index or an effect of its examples.")
    node = node_at(row.site or "", row.kind, place[row.position], row.index or 0)
    return WeightedNode(node=node, **{name: getattr(row, name) for name in (*_NUMBERS, *_COUNTS)})
