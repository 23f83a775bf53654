"""Where nodes stand: tokens below, one band per site above them, the metric on top; columns are positions.

Several nodes of one cell stand side by side, strongest in the middle, in as many rows as the cell needs.
"""

from collections import defaultdict
from dataclasses import dataclass

from graphs.circuit_graph import CircuitGraph, WeightedNode
from graphs.node import MetricNode, Node

CELL_WIDTH = 0.84
NODES_IN_A_ROW = 9


@dataclass(frozen=True)
class GridLayout:
    """Places of nodes (x: position column, y: upwards) and the vertical extent of every band."""

    place: dict[Node, tuple[float, float]]
    bands: dict[int, tuple[float, float]]

    @property
    def height(self) -> float:
        return max(top for _, top in self.bands.values())


def grid_layout(circuit: CircuitGraph) -> GridLayout:
    """Lay out every node of a circuit; bands are numbered by `circuit.depth`."""
    cells: dict[tuple[int, int], list[WeightedNode]] = defaultdict(list)
    for weighted in (*circuit.strongest(), *(w for w in circuit.nodes if isinstance(w.node, MetricNode))):
        column = len(circuit.positions) - 1 if isinstance(weighted.node, MetricNode) else weighted.node.position
        cells[circuit.depth(weighted.node), column].append(weighted)
    rows = {
        band: max([_rows(len(nodes)) for (b, _), nodes in cells.items() if b == band], default=1)
        for band in range(len(circuit.sites) + 2)
    }
    bands: dict[int, tuple[float, float]] = {}
    bottom = 0.0
    for band, count in rows.items():
        bands[band] = (bottom, bottom + 0.4 + 0.6 * count)
        bottom = bands[band][1]
    place: dict[Node, tuple[float, float]] = {}
    for (band, column), nodes in cells.items():
        base = bands[band][0] + 0.5
        for k, weighted in enumerate(nodes):
            row, slot = divmod(k, NODES_IN_A_ROW)
            in_row = min(NODES_IN_A_ROW, len(nodes) - row * NODES_IN_A_ROW)
            place[weighted.node] = (column + _offset(slot, in_row), base + 0.6 * row)
    return GridLayout(place, bands)


def _rows(count: int) -> int:
    return -(-count // NODES_IN_A_ROW)


def _offset(slot: int, in_row: int) -> float:
    """Middle first, then alternating right and left."""
    step = CELL_WIDTH / NODES_IN_A_ROW
    side = (slot + 1) // 2 * (1 if slot % 2 else -1)
    centre = 0.5 * step if in_row % 2 == 0 else 0.0
    return side * step - centre
