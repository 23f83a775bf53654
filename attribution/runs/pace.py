"""The time of work whose price is two numbers: the operations that it launches, and their FLOPs.

    seconds = operations · seconds of an operation + FLOPs · seconds of a FLOP + seconds of what is neither

An operation on a small tensor takes as long as launching it, and one on a large tensor as long as its numbers. Both
paces follow from two timed probes that launch equally many operations, on few prompts and on many.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Work:
    """Operations launched, views not counted, FLOPs of matrix products, and seconds of what is neither."""

    operations: float | int = 0.0
    flops: float | int = 0.0
    seconds: float | int = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.operations + other.operations, self.flops + other.flops, self.seconds + other.seconds)

    def __mul__(self, times: float | int) -> "Work":
        """The same so many times, one after the other."""
        return Work(self.operations * times, self.flops * times, self.seconds * times)

    __rmul__ = __mul__

    def side_by_side(self, times: float | int) -> "Work":
        """The same so many times in one batch: more FLOPs, but no more operations."""
        return replace(self, flops=self.flops * times)


@dataclass(frozen=True)
class Pace:
    """Seconds that an operation takes however small it is, and seconds of a FLOP beyond that."""

    operation: float
    flop: float

    @classmethod
    def between(cls, few: tuple[Work, float], many: tuple[Work, float]) -> "Pace":
        """The pace at which both pieces of work take their seconds; never below 0, where a probe was disturbed."""
        (small, short), (large, long) = few, many
        more = large.flops - small.flops
        flop = min(max(0.0, (long - short) / more) if more > 0 else long / large.flops, long / large.flops)
        return cls(max(0.0, long - flop * large.flops) / large.operations, flop)

    def seconds(self, work: Work) -> float:
        """How long the work takes."""
        return self.operation * work.operations + self.flop * work.flops + work.seconds
