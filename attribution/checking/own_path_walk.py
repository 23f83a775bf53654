"""The walk along nodes' own paths: intervals of α are halved until every flip is located and every piece is smooth.

`own_path.py` says what is computed. The intervals of all nodes of one site and kind are evaluated together. Whether two
points have the same open gates downstream is decided by a hash of the open gates. First every flip is located; then the
slope is integrated over the pieces between flips, at most an eighth of the path each. A piece whose integral is not the
change of the metric is halved, and what its halves hide is located too.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.effects.measurement import Situation
from attribution.effects.patches import Patches
from attribution.effects.quadrature import gauss_legendre
from attribution.runs.time_limit import NO_LIMIT, TimeLimit
from attribution.splice.resuming import Observer, resume
from graphs.short_repr import short_repr

_PIECE_WIDTH = 2.0**-16
_FIRST_PIECES = 8
_RULE = gauss_legendre(3)


@dataclass(frozen=True)
class GateFlip:
    """A gate that flips as α grows. `opened` is True if it opens, False if it closes."""

    site: str
    position: int
    index: int
    opened: bool


@dataclass(frozen=True)
class PathJump:
    """A jump of the metric by `size`, in its units, at `alpha`, and the gates that flip there."""

    __repr__ = short_repr

    alpha: float
    size: float
    flips: tuple[GateFlip, ...]


@dataclass(frozen=True)
class OwnPath:
    """One node's exact effect, split: exact = smooth + Σ jumps + residual, in units of the metric.

    `key` is the node's, as in `Effects.keys`.
    """

    __repr__ = short_repr

    key: int
    exact: float
    smooth: float
    jumps: tuple[PathJump, ...]

    @property
    def jump(self) -> float:
        """Σ sizes of the jumps."""
        return sum((jump.size for jump in self.jumps), 0.0)

    @property
    def residual(self) -> float:
        """exact − smooth − jump."""
        return self.exact - self.smooth - self.jump


@dataclass(frozen=True)
class PathValues:
    """One node's path at some points α: the metric, its slope dm/dα, and the margins of some gates."""

    alpha: Float[Tensor, " point"]
    metric: Float[Tensor, " point"]
    slope: Float[Tensor, " point"]
    margins: Mapping[GateFlip, Float[Tensor, " point"]]


@dataclass(frozen=True)
class _Intervals:
    """Intervals of α on the paths of nodes, with the metric and the hash of the open gates at both ends."""

    node: Int[Tensor, " interval"]
    left: Float[Tensor, " interval"]
    right: Float[Tensor, " interval"]
    metric: tuple[Float[Tensor, " interval"], Float[Tensor, " interval"]]
    gates: tuple[Int[Tensor, " interval"], Int[Tensor, " interval"]]

    def __len__(self) -> int:
        return len(self.node)

    @classmethod
    def joined(cls, parts: Sequence["_Intervals"]) -> "_Intervals":
        """All intervals of several."""
        m, g = ([p.metric for p in parts], [p.gates for p in parts])
        return cls(
            torch.cat([p.node for p in parts]),
            torch.cat([p.left for p in parts]),
            torch.cat([p.right for p in parts]),
            (torch.cat([ends[0] for ends in m]), torch.cat([ends[1] for ends in m])),
            (torch.cat([ends[0] for ends in g]), torch.cat([ends[1] for ends in g])),
        )

    def whole(self) -> "_Intervals":
        """Intervals without flips, those that touch as one within each of the first pieces."""
        order = torch.argsort(self.node * 2 + self.left)  # exact: ends are multiples of a power of two below 1
        own = self.only(order)
        new = torch.ones(len(own), dtype=torch.bool)
        piece = (own.left * _FIRST_PIECES).floor()
        new[1:] = (own.node[1:] != own.node[:-1]) | (own.left[1:] != own.right[:-1]) | (piece[1:] != piece[:-1])
        starts = own.only(new)
        ends = own.only(torch.cat([new[1:], new.new_ones(min(1, len(new)))]))
        return _Intervals(
            starts.node, starts.left, ends.right, (starts.metric[0], ends.metric[1]), (starts.gates[0], ends.gates[1])
        )

    def only(self, chosen: Bool[Tensor, " interval"] | Int[Tensor, " chosen"] | slice) -> "_Intervals":
        m, g = self.metric, self.gates
        return _Intervals(
            self.node[chosen],
            self.left[chosen],
            self.right[chosen],
            (m[0][chosen], m[1][chosen]),
            (g[0][chosen], g[1][chosen]),
        )


@dataclass
class Walk:
    """The paths of one group of patches, walked together; see `own_paths` for rtol, resolution and limit."""

    situation: Situation
    patch: Patches
    runs_at_once: int
    rtol: float
    resolution: float
    limit: TimeLimit = NO_LIMIT
    hashes: dict[str, Tensor] = field(default_factory=dict)
    seconds_of_a_run: float = 0.0

    def paths(self) -> Iterator[OwnPath]:
        """The own path of every node of the group, in their order; raises TimeUp when the limit is reached."""
        count = len(self.patch)
        todo = self._first()
        exact = self._at_ends(todo, count)
        smooth = torch.zeros_like(exact)
        jumps: list[tuple[_Intervals, Tensor]] = []
        floor = 32 * torch.finfo(self.situation.clean_metric.dtype).eps * self._size(todo)
        allowed = (self.rtol * exact.abs()).clamp(min=floor) / _FIRST_PIECES
        first = True
        while len(todo):
            flips, pieces = self._located(todo)
            slope = self._mean_slopes(flips)
            smooth.index_add_(0, flips.node, slope * (flips.right - flips.left))
            jumps.append((flips, flips.metric[1] - flips.metric[0] - slope * (flips.right - flips.left)))
            pieces = pieces.whole() if first else pieces
            integral = self._integral(pieces)
            missed = (pieces.metric[1] - pieces.metric[0] - integral).abs() > allowed[pieces.node]
            missed &= pieces.right - pieces.left > _PIECE_WIDTH
            smooth.index_add_(0, pieces.node[~missed], integral[~missed])
            todo, first = self._halved(pieces.only(missed)), False
        found = self._jumps(jumps)
        keys = self.patch.keys(self.situation)
        for node in range(count):
            yield OwnPath(int(keys[node]), float(exact[node]), float(smooth[node]), tuple(found.get(node, ())))

    def _located(self, todo: _Intervals) -> tuple[_Intervals, _Intervals]:
        """The flips in some intervals, located to `resolution`, and the intervals without a flip that are left."""
        flips, pieces = [todo.only(slice(0))], [todo.only(slice(0))]
        while len(todo):
            differ, narrow = todo.gates[0] != todo.gates[1], todo.right - todo.left <= self.resolution
            flips.append(todo.only(differ & narrow))
            pieces.append(todo.only(~differ))
            todo = self._halved(todo.only(differ & ~narrow))
        return _Intervals.joined(flips), _Intervals.joined(pieces)

    def trace(self, gates: tuple[GateFlip, ...], points: int) -> "PathValues":
        """The metric, its slope and the gates' margins at equidistant α, for a group of a single patch."""
        alpha = torch.linspace(0, 1, points, dtype=torch.float64)
        node = torch.zeros(points, dtype=torch.int64)
        margins: list[dict[GateFlip, Tensor]] = []
        metrics: list[Tensor] = []
        for chosen in self._chunks(points):
            seen: dict[GateFlip, Tensor] = {}

            def observe(site: str, margin: Tensor, seen: dict[GateFlip, Tensor] = seen) -> None:
                seen |= {g: margin[:, g.position, g.index].double().cpu() for g in gates if g.site == site}

            with torch.no_grad():
                metrics.append(self._metric(node[chosen], alpha[chosen], observe).double().cpu())
            margins.append(seen)
        by_gate = {gate: torch.cat([seen[gate] for seen in margins]) for gate in gates}
        return PathValues(alpha, torch.cat(metrics), self._slopes(node, alpha), by_gate)

    def _first(self) -> _Intervals:
        count = len(self.patch)
        edges = torch.linspace(0, 1, _FIRST_PIECES + 1, dtype=torch.float64)
        node = torch.arange(count).repeat_interleave(len(edges))
        metric, gates = self._evaluate(node, edges.repeat(count))
        m, g = metric.unflatten(0, (count, -1)), gates.unflatten(0, (count, -1))
        return _Intervals(
            torch.arange(count).repeat_interleave(_FIRST_PIECES),
            edges[:-1].repeat(count),
            edges[1:].repeat(count),
            (m[:, :-1].flatten(), m[:, 1:].flatten()),
            (g[:, :-1].flatten(), g[:, 1:].flatten()),
        )

    def _at_ends(self, first: _Intervals, count: int) -> Float[Tensor, " node"]:
        left, right = (m.unflatten(0, (count, _FIRST_PIECES)) for m in first.metric)
        return right[:, -1] - left[:, 0]

    def _size(self, first: _Intervals) -> float:
        return max(float(first.metric[0].abs().max()), 1.0)

    def _halved(self, todo: _Intervals) -> _Intervals:
        middle = (todo.left + todo.right) / 2
        metric, gates = self._evaluate(todo.node, middle)
        return _Intervals(
            todo.node.repeat(2),
            torch.cat([todo.left, middle]),
            torch.cat([middle, todo.right]),
            (torch.cat([todo.metric[0], metric]), torch.cat([metric, todo.metric[1]])),
            (torch.cat([todo.gates[0], gates]), torch.cat([gates, todo.gates[1]])),
        )

    def _evaluate(self, node: Tensor, alpha: Tensor) -> tuple[Float[Tensor, " run"], Int[Tensor, " run"]]:
        """The metric, and a hash of the open gates downstream, at points of the paths."""
        metrics, signatures = [torch.zeros(0, dtype=torch.float64)], [torch.zeros(0, dtype=torch.int64)]
        for chosen in self._chunks(len(node)):
            n, a = node[chosen], alpha[chosen]
            signature = torch.zeros(len(n), dtype=torch.int64, device=self.situation.clean_metric.device)

            def observe(site: str, margin: Tensor, signature: Tensor = signature) -> None:
                run, pos, index = torch.nonzero(margin > 0, as_tuple=True)
                signature.index_add_(0, run, self._hash(site, margin)[pos, index])

            with torch.no_grad():
                metrics.append(self._metric(n, a, observe).double().cpu())
            signatures.append(signature.cpu())
        return torch.cat(metrics), torch.cat(signatures)

    def _chunks(self, count: int) -> Iterator[slice]:
        """Runs that are executed together; they do not begin if, at the pace of those before, the time will not do."""
        for start in range(0, count, self.runs_at_once):
            size = min(self.runs_at_once, count - start)
            self.limit.check(size * self.seconds_of_a_run)
            began = time.monotonic()
            yield slice(start, start + size)
            self.seconds_of_a_run = (time.monotonic() - began) / size

    def _hash(self, site: str, margin: Tensor) -> Int[Tensor, "pos d_sae"]:
        if site not in self.hashes:
            generator = torch.Generator().manual_seed(len(self.hashes))
            limit = torch.iinfo(torch.int64)
            shape = tuple(margin.shape[1:])
            drawn = torch.randint(limit.min, limit.max, shape, generator=generator)
            self.hashes[site] = drawn.to(margin.device)
        return self.hashes[site]

    def _metric(self, node: Tensor, alpha: Tensor, observe: Observer | None = None) -> Float[Tensor, " run"]:
        return self._metric_of(node, self.patch.outputs(self.situation, node, alpha), observe)

    def _metric_of(self, node: Tensor, output: Tensor, observe: Observer | None = None) -> Float[Tensor, " run"]:
        situation, row = self.situation, self.patch.row[node]
        logits = resume(situation.spliced, situation.clean, row, self.patch.site, output, situation.error_mode, observe)
        return situation.metric(logits, situation.batch.rows(row))

    def _integral(self, pieces: _Intervals) -> Float[Tensor, " piece"]:
        """∫ (dm/dα) dα over each piece. Jumps of gates are not in it."""
        total = torch.zeros(len(pieces), dtype=torch.float64)
        width = pieces.right - pieces.left
        for point, weight in zip(_RULE.points, _RULE.weights, strict=True):
            total += weight * width * self._slopes(pieces.node, pieces.left + point * width)
        return total

    def _slopes(self, node: Tensor, alpha: Tensor) -> Float[Tensor, " run"]:
        """dm/dα at points of the paths, with the gates held as they are there."""
        nothing = torch.zeros(0, dtype=torch.float64)
        return torch.cat([nothing, *(self._slope(node[chosen], alpha[chosen]) for chosen in self._chunks(len(node)))])

    def _mean_slopes(self, of: _Intervals) -> Float[Tensor, " interval"]:
        """The mean of the slopes at both ends of each interval; ends that intervals share are evaluated once."""
        ends = torch.cat([of.node * 2 + of.left, of.node * 2 + of.right])
        different, place = torch.unique(ends, return_inverse=True)
        node = (different / 2).floor().long().clamp(max=len(self.patch) - 1)
        return self._slopes(node, different - node * 2)[place].unflatten(0, (2, -1)).mean(0)

    def _slope(self, node: Tensor, alpha: Tensor) -> Float[Tensor, " run"]:
        output = self.patch.outputs(self.situation, node, alpha).requires_grad_()
        with torch.enable_grad():
            metric = self._metric_of(node, output).sum()
        (gradient,) = torch.autograd.grad(metric, output)
        amount = self.patch.amount(node)
        here = gradient[torch.arange(len(node), device=gradient.device), self.patch.pos[node]]
        return (here.to(amount.dtype) * amount).sum(-1).double().cpu()

    def _jumps(self, found: list[tuple[_Intervals, Tensor]]) -> dict[int, list[PathJump]]:
        by_node: dict[int, list[PathJump]] = {}
        for intervals, sizes in found:
            for chosen in self._chunks(len(intervals)):
                part, size = intervals.only(chosen), sizes[chosen].tolist()
                flips = self._flips(part)
                for n in range(len(part)):
                    jump = PathJump(float((part.left[n] + part.right[n]) / 2), size[n], tuple(flips[n]))
                    by_node.setdefault(int(part.node[n]), []).append(jump)
        return {node: sorted(jumps, key=lambda jump: jump.alpha) for node, jumps in by_node.items()}

    def _flips(self, part: _Intervals) -> list[list[GateFlip]]:
        flips: list[list[GateFlip]] = [[] for _ in range(len(part))]

        def observe(site: str, margin: Tensor) -> None:
            before, after = (margin > 0).chunk(2)
            for run, pos, index in torch.nonzero(before != after).tolist():
                flips[run].append(GateFlip(site, pos, index, bool(after[run, pos, index])))

        with torch.no_grad():
            self._metric(part.node.repeat(2), torch.cat([part.left, part.right]), observe)
        return flips
