"""Effects: the sparse result that every method returns.

One entry per example and node, averaged over nothing. Sign: positive means that the metric rises when the node takes
its patch value. Unit: the metric's. (`activation_difference` has a unit of its own and no sign.)
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from attribution.effects.effects_head import COLUMN_TYPES, FLOATS, NAMES, WHOLE, EffectsHead, Versioned
from attribution.splice.node_keys import KINDS, NodeColumns, node_keys
from graphs.fields.type_faults import shortened
from graphs.files.parquet_file import check_columns, parsed_head, read_parquet, write_parquet
from graphs.files.typed_content import typed

SIGN: Final = "positive: the metric rises when the node takes its patch value"
GATES: Final = ("clear", "float64", "undecided", "near")
"""Whether rounding could have decided an effect: no; it could, and float64 decided; float64 does not decide either; it
could, and the effect was not measured again."""
SCHEMA_VERSION: Final = 3


@dataclass(frozen=True)
class Effects:
    """Effects of nodes as columns of equal length, sorted by example, site, position, kind and index.

    Attributes:
        method, metric, unit, error_mode, patch_value: what was measured, and how.
        sites: names of the sites in the order of the forward pass; `site` holds places in it.
        kind: place in `KINDS`. `index` is the feature's, -1 for errors and tokens.
        clean, patch: the node's two values: activation of a feature, L2 norm of an error, id of a token.
        effect: in `unit`, with the meaning that `sign` states. Of an undecided node, with gates within rounding closed.
        gates: place in `GATES`; `clear` for all nodes of an estimate.
        open_effect: the effect with gates within rounding open; `effect` itself unless the node is undecided.
        clean_metric, total_effect: m(clean), and m(everything at its patch value) − m(clean), per example, in
            `metric_unit`.
        settings: the method's other settings, such as the number of points of its path.
        residual: per example and in `metric_unit`, as `residual_law` defines it; None if the method has no such law.
    """

    method: str
    metric: str
    unit: str
    metric_unit: str
    sign: str
    error_mode: str
    patch_value: str
    sites: tuple[str, ...]
    example: np.ndarray
    site: np.ndarray
    position: np.ndarray
    kind: np.ndarray
    index: np.ndarray
    clean: np.ndarray
    patch: np.ndarray
    effect: np.ndarray
    gates: np.ndarray
    open_effect: np.ndarray
    clean_metric: np.ndarray
    total_effect: np.ndarray
    residual: np.ndarray | None
    residual_law: str
    settings: Mapping[str, str | int | float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.effect)

    def __repr__(self) -> str:
        return (
            f"Effects({self.method}, {self.metric} in {self.unit}: {len(self):,} effects in "
            f"{len(self.total_effect):,} examples at {len(self.sites) - 1} sites and the tokens; "
            f"{self.error_mode} errors, {self.patch_value} patch)"
        )

    def where(self, chosen: np.ndarray) -> "NodeColumns":
        """The columns of some nodes, as a mapping from name to array; `chosen` is a mask or an index."""
        return {name: getattr(self, name)[chosen] for name in _COLUMNS}

    def subset(self, chosen: np.ndarray) -> "Effects":
        """The same measurement with some of its nodes. The residual is unchanged, since it is about all nodes."""
        return replace(self, **self.where(chosen))

    def keys(self) -> np.ndarray:
        """One integer for each entry, the same for the same example and node in every `Effects` over the same sites."""
        return node_keys(self.example, self.position, self.index, site=self.site, kind=self.kind)

    @property
    def repeated(self) -> np.ndarray:
        """The effects that were measured again in float64."""
        return np.isin(self.gates, (GATES.index("float64"), GATES.index("undecided")))

    @property
    def undecided(self) -> np.ndarray:
        """Mask of the nodes of which rounding decides a gate, so that neither value counts."""
        return self.gates == GATES.index("undecided")

    def of_kind(self, kind: str) -> np.ndarray:
        """Mask of the nodes of one kind."""
        return self.kind == KINDS.index(kind)

    def at(self, site: str) -> np.ndarray:
        """Mask of the nodes at one site."""
        if site not in self.sites:
            raise LookupError(f"No effects at {site!r}. Sites: {', '.join(self.sites)}.")
        return self.site == self.sites.index(site)

    def table(self) -> pa.Table:
        """One row per example and node, with sites and kinds by name. The metadata says what was measured."""
        columns = {
            "example": self.example,
            "site": pa.DictionaryArray.from_arrays(pa.array(self.site), pa.array(self.sites, pa.string())),
            "position": self.position,
            "kind": pa.DictionaryArray.from_arrays(pa.array(self.kind), pa.array(KINDS)),
            "index": self.index,
            "clean": self.clean,
            "patch": self.patch,
            "effect": self.effect,
            "method": _repeated(self.method, len(self)),
            "error_mode": _repeated(self.error_mode, len(self)),
            "gates": pa.DictionaryArray.from_arrays(pa.array(self.gates), pa.array(GATES)),
            "open_effect": self.open_effect,
        }
        about: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            **{name: getattr(self, name) for name in _WORDS},
            "settings": dict(self.settings),
            "sites": self.sites,
            "clean_metric": self.clean_metric.tolist(),
            "total_effect": self.total_effect.tolist(),
            "residual": None if self.residual is None else self.residual.tolist(),
        }
        return pa.table(columns).replace_schema_metadata({b"jumpwire": json.dumps(about).encode()})

    def write_parquet(self, path: str | Path) -> None:
        """Write `table()` to a Parquet file."""
        write_parquet(self.table(), path)

    @classmethod
    def read_parquet(cls, path: str | Path) -> "Effects":
        """Read and check what `write_parquet` wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: the file does not hold effects of jumpwire, or is damaged; the message says where.
        """
        table, text = read_parquet(path)
        if text is None:
            raise ValueError(f"{path}: not an effects file of jumpwire (no 'jumpwire' metadata).")
        about = parsed_head(path, text)
        try:
            if (version := typed(Versioned, about).schema_version) != SCHEMA_VERSION:
                raise ValueError(f"schema version {version}; this version reads {SCHEMA_VERSION}.")
            head = typed(EffectsHead, about)
            check_columns(table, COLUMN_TYPES)
            columns = {name: table[name].to_numpy() for name in (*FLOATS, *WHOLE)}
            columns |= {
                name: _codes(name, table[name].to_pylist(), names)
                for name, names in zip(NAMES, (head.sites, KINDS, GATES), strict=True)
            }
            _check_values(columns, head)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        return cls(
            **{name: getattr(head, name) for name in _WORDS},
            settings=head.settings,
            sites=tuple(head.sites),
            **columns,
            clean_metric=np.array(head.clean_metric),
            total_effect=np.array(head.total_effect),
            residual=None if head.residual is None else np.array(head.residual),
        )


_COLUMNS: Final = ("example", "site", "position", "kind", "index", "clean", "patch", "effect", "gates", "open_effect")
_ORDER: Final = ("example", "site", "position", "kind", "index")
_WORDS: Final = ("method", "metric", "unit", "metric_unit", "sign", "error_mode", "patch_value", "residual_law")
_TYPES: Final = {
    "example": np.int32,
    "site": np.int16,
    "position": np.int32,
    "kind": np.int8,
    "index": np.int32,
    "clean": np.float64,
    "patch": np.float64,
    "effect": np.float64,
    "gates": np.int8,
    "open_effect": np.float64,
}


def _codes(name: str, values: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """The place in `names` of each value of a column."""
    place = {n: i for i, n in enumerate(names)}
    if unknown := set(values) - set(place):
        raise ValueError(f"the column {name!r} has {shortened(min(unknown))}; expected one of {', '.join(names)}.")
    return np.array([place[v] for v in values], dtype=_TYPES[name])


def _check_values(columns: NodeColumns, head: EffectsHead) -> None:
    """Effects are finite numbers of nodes that can be, one sum for each example."""
    for name in FLOATS:
        if not np.isfinite(columns[name]).all():
            raise ValueError(f"the column {name!r} holds a number that is not finite.")
    examples = len(head.clean_metric)
    if {len(head.total_effect), len(head.residual or head.total_effect)} != {examples}:
        raise ValueError("clean_metric, total_effect and residual are of different lengths.")
    for name, least, most in (("example", 0, examples - 1), ("position", 0, None), ("index", -1, None)):
        values = columns[name]
        if len(values) and (values.min() < least or (most is not None and values.max() > most)):
            raise ValueError(f"the column {name!r} has {values.min()} to {values.max()}; expected {least} to {most}.")


def joined(parts: Sequence[NodeColumns]) -> NodeColumns:
    """The columns of several parts in one, in the order of `Effects`."""
    whole = {n: np.concatenate([p[n] for p in parts], dtype=t, casting="unsafe") for n, t in _TYPES.items()}
    key = _rank(whole)
    if key is None:
        order = np.lexsort([whole[n] for n in reversed(_ORDER)])
    elif np.all(key[1:] >= key[:-1]):
        return whole
    else:
        order = np.argsort(key, kind="stable")
    return {name: column[order] for name, column in whole.items()}


def _rank(columns: NodeColumns) -> np.ndarray | None:
    """One integer for each entry that sorts like `Effects`, faster than columns do; None if 64 bits do not suffice."""
    key, spans = np.zeros(len(columns["index"]), np.int64), 1
    for name in _ORDER:
        column = columns[name]
        low, high = int(column.min(initial=0)), int(column.max(initial=0))
        spans *= high - low + 1
        if spans >= 2**63:
            return None
        key *= high - low + 1
        key += column
        key -= low
    return key


def _repeated(word: str, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int8)), pa.array([word]))
