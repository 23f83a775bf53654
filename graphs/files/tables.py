"""A circuit as two Parquet tables in a folder, for pandas, polars and duckdb, and back without loss.

    nodes.parquet        type     meaning
    node                 string   the node's name: blocks.3.hook_mlp_out/117@verb
    kind                 string   feature, error, token or metric
    site                 string   features and errors only
    position             int64    index into the circuit's positions; null for the metric
    position_label       string   the name of that position
    index                int64    features only
    feature_label        string   what the feature stands for, where it has a label
    name                 string   the metric only
    effect, mean_absolute, standard_error, carried, undivided
                         double   as in `WeightedNode`, in the unit of the measurement
    inclusion, inclusion_templates
                         double   share of resamples, as in `WeightedNode`
    clean, patch         double   feature: activation; error: L2 norm
    closed_effect, open_effect
                         double   as in `WeightedNode`; null unless rounding decides the effect in some example
    count, verified, undecided
                         int64    examples
    estimate.<method>    double   the effect by another method, in the same unit
    flag.<flag>          int64    how often the check gave the node's estimate this flag

    edges.parquet
    source, target       string   names of nodes
    weight, mean_absolute, standard_error
                         double   as in `Edge`, in the unit of the measurement
    inclusion, inclusion_templates
                         double   share of resamples
    count                int64    examples

Both tables carry sites, positions, measurement and certificate as JSON in the metadata of their schema, under the key
`jumpwire`. Under the key `jumpwire.labels`, that of the nodes has the labels of the circuit's features with all their
evidence, as labels.json has them, if labels were given.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from graphs.circuit_graph import CircuitGraph
from graphs.feature_labels import Labels
from graphs.files.labels_json import labels_from_plain, plain_labels, text_of_row
from graphs.files.parquet_file import HEAD_KEY, read_parquet
from graphs.files.plain_circuit import HEAD_FIELDS, circuit_from_plain, plain_circuit
from graphs.files.plain_json import parse_json
from graphs.files.typed_content import FileContent, typed
from graphs.files.whole_file import whole_file

if TYPE_CHECKING:
    import pyarrow as pa

NODES_FILE: Final = "nodes.parquet"
EDGES_FILE: Final = "edges.parquet"
_PLACE: Final = {"feature": ("site", "position", "index"), "error": ("site", "position"), "token": ("position",)}
_GROUPS: Final = {"estimates": "estimate.", "flags": "flag."}
_WHOLE: Final = ("position", "index", "count", "verified", "undecided")
_LABELS_KEY: Final = b"jumpwire.labels"
_LABEL: Final = "feature_label"
_TEXTS: Final = ("node", "kind", "site", "position_label", _LABEL, "name", "source", "target")


class NodeCells(FileContent):
    """What every row of the table of nodes has."""

    node: str
    kind: str


def write_tables(circuit: CircuitGraph, folder: str | Path, *, labels: Labels | None = None) -> None:
    """Write both tables, with labels of the features, into a folder, which is created if it does not exist."""
    import pyarrow.parquet as pq

    plain = plain_circuit(circuit)
    names = [position.label for position in circuit.positions]
    head = {HEAD_KEY: json.dumps({name: plain[name] for name in HEAD_FIELDS}, sort_keys=True).encode()}
    nodes = [_node_row(row, names, text_of_row(labels, row)) for row in plain["nodes"]]
    first = ("node", "kind", "site", "position", "position_label", "index", _LABEL, "name")
    own = {} if labels is None else {_LABELS_KEY: json.dumps(plain_labels(labels.only(circuit.features))).encode()}
    edges = _table(plain["edges"], ("source", "target", "weight"), head)
    for name, table in ((NODES_FILE, _table(nodes, first, {**head, **own})), (EDGES_FILE, edges)):
        with whole_file(Path(folder) / name) as path:
            pq.write_table(table, path)


def read_tables(folder: str | Path) -> CircuitGraph:
    """Read and check what `write_tables` wrote.

    Raises:
        FileNotFoundError: a table is missing.
        ValueError: the tables are not those of one circuit of jumpwire, or are damaged.
    """
    files = [Path(folder) / name for name in (NODES_FILE, EDGES_FILE)]
    for file in files:
        if not file.is_file():
            raise FileNotFoundError(
                f"{file}: no such file. A circuit in Parquet is a folder with {NODES_FILE} and {EDGES_FILE}."
            )
    (nodes, head), (edges, same) = map(read_parquet, files)
    if head is None or head != same:
        raise ValueError(f"{folder}: {NODES_FILE} and {EDGES_FILE} do not belong to one circuit of jumpwire.")
    try:
        rows = {"nodes": list(map(_plain_row, nodes.to_pylist())), "edges": edges.to_pylist()}
        if not isinstance(content := parse_json(head), dict):
            raise ValueError("the metadata of its tables are no object.")
        return circuit_from_plain({**content, **rows})
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None


def read_table_labels(folder: str | Path) -> Labels | None:
    """The labels in what `write_tables` wrote; None where it was given none. Damaged labels are a ValueError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = (pq.read_schema(Path(folder) / NODES_FILE).metadata or {}).get(_LABELS_KEY)
        return None if found is None else labels_from_plain(parse_json(found))
    except (pa.ArrowInvalid, ValueError) as error:
        raise ValueError(f"{Path(folder) / NODES_FILE}: {error}") from None


def _node_row(row: Mapping[str, Any], names: list[str], label: str | None) -> dict[str, Any]:
    """A row of the table: each key of a mapping becomes a column."""
    found = {
        "node": row["id"],
        _LABEL: label,
        **{name: value for name, value in row.items() if name not in ("id", *_GROUPS)},
    }
    if row.get("position") is not None:
        found["position_label"] = names[row["position"]]
    for group, prefix in _GROUPS.items():
        found |= {f"{prefix}{name}": value for name, value in row[group].items()}
    return found


def _plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `_node_row`, without the cells that other kinds of nodes fill."""
    own = _PLACE.get(typed(NodeCells, row).kind, ("name",))
    places = {name for names in (*_PLACE.values(), ("name",)) for name in names} - set(own)
    skipped = {"node", "position_label", _LABEL, *places}
    found = {k: v for k, v in row.items() if k not in skipped and not k.startswith(tuple(_GROUPS.values()))}
    for group, prefix in _GROUPS.items():
        found[group] = {
            name.removeprefix(prefix): value
            for name, value in row.items()
            if name.startswith(prefix) and value is not None
        }
    return {"id": row["node"], **found}


def _table(rows: list[dict[str, Any]], first: Iterable[str], head: Mapping[bytes, bytes]) -> "pa.Table":
    import pyarrow as pa

    names = dict.fromkeys([*first, *(name for row in rows for name in row)])
    types = {name: _type(name) for name in names}
    columns = {name: pa.array([row.get(name) for row in rows], type=types[name]) for name in names}
    return pa.table(columns).replace_schema_metadata(dict(head))


def _type(name: str) -> "pa.DataType":
    import pyarrow as pa

    if name in _TEXTS:
        return pa.string()
    return pa.int64() if name in _WHOLE or name.startswith(_GROUPS["flags"]) else pa.float64()
