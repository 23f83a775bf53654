"""The grid of a circuit: tokens at the bottom, a band for each site above them, the metric on top; columns are
positions.

Nodes of one cell are placed side by side, strongest in the middle, in as many rows as the cell needs. A column is as
wide as its widest row; a run of positions without a node is one narrow gap.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from graphs.circuit_graph import CircuitGraph, WeightedNode
from graphs.nodes import MetricNode, Node

ROW_HEIGHT: Final = 0.6
_MOST_IN_A_ROW: Final = 13
_LEAST_IN_A_ROW: Final = 3
_SLOTS: Final = 60
_BETWEEN: Final = 1.0
_GAP: Final = 1.5
_EMPTY_BAND: Final = 0.5
_Cells = Mapping[tuple[int, int], list[WeightedNode]]


@dataclass(frozen=True)
class Column:
    """A column: the positions from `first` to `last` and their extent in x. Either one position, or an empty run."""

    first: int
    last: int
    left: float
    right: float
    empty: bool

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2


@dataclass(frozen=True)
class GridLayout:
    """Coordinates of nodes (x in node widths, y upwards), the columns, and the vertical extent of every band."""

    place: dict[Node, tuple[float, float]]
    columns: tuple[Column, ...]
    bands: dict[int, tuple[float, float]]

    @property
    def width(self) -> float:
        return max((column.right for column in self.columns), default=0.0)

    @property
    def height(self) -> float:
        return max(top for _, top in self.bands.values())


def grid_layout(circuit: CircuitGraph) -> GridLayout:
    """Place every node of a circuit; bands are numbered as `circuit.depth` numbers nodes."""
    cells = _cells(circuit)
    occupied = len({position for _, position in cells})
    in_a_row = min(_MOST_IN_A_ROW, max(_LEAST_IN_A_ROW, _SLOTS // max(1, occupied)))
    columns = _columns(len(circuit.positions), cells, in_a_row)
    bands = _bands(len(circuit.sites) + 2, cells, in_a_row)
    at = {column.first: column for column in columns}
    place: dict[Node, tuple[float, float]] = {}
    for (band, position), nodes in cells.items():
        for k, weighted in enumerate(nodes):
            row, slot = divmod(k, in_a_row)
            x = at[position].middle + _offset(slot, min(in_a_row, len(nodes) - row * in_a_row))
            place[weighted.node] = (x, bands[band][0] + 0.5 + ROW_HEIGHT * row)
    return GridLayout(place, columns, bands)


def _cells(circuit: CircuitGraph) -> _Cells:
    """Nodes by band and position, strongest first; the metric is at the last position."""
    cells: dict[tuple[int, int], list[WeightedNode]] = defaultdict(list)
    for weighted in (*circuit.strongest(), *(w for w in circuit.nodes if isinstance(w.node, MetricNode))):
        position = len(circuit.positions) - 1 if isinstance(weighted.node, MetricNode) else weighted.node.position
        cells[circuit.depth(weighted.node), position].append(weighted)
    return cells


def _columns(positions: int, cells: _Cells, in_a_row: int) -> tuple[Column, ...]:
    nodes = {p: max((len(found) for (_, at), found in cells.items() if at == p), default=0) for p in range(positions)}
    columns: list[Column] = []
    for position, most in nodes.items():
        left = columns[-1].right if columns else 0.0
        if most:
            width = max(_LEAST_IN_A_ROW, min(most, in_a_row)) + _BETWEEN
            columns.append(Column(position, position, left, left + width, empty=False))
        elif columns and columns[-1].empty:
            run = columns.pop()
            columns.append(Column(run.first, position, run.left, run.right, empty=True))
        else:
            columns.append(Column(position, position, left, left + _GAP, empty=True))
    return tuple(columns)


def _bands(count: int, cells: _Cells, in_a_row: int) -> dict[int, tuple[float, float]]:
    bands: dict[int, tuple[float, float]] = {}
    bottom = 0.0
    for band in range(count):
        most = max((len(nodes) for (b, _), nodes in cells.items() if b == band), default=0)
        height = 0.4 + ROW_HEIGHT * -(-most // in_a_row) if most else _EMPTY_BAND
        bands[band] = (bottom, bottom + height)
        bottom += height
    return bands


def _offset(slot: int, in_row: int) -> float:
    """Distance of a slot from the middle of its column: slot 0 in the middle, then alternately right and left."""
    side = (slot + 1) // 2 * (1 if slot % 2 else -1)
    return side - (0.5 if in_row % 2 == 0 else 0.0)
