"""A trial of sites: what circuits can reach at each kind of site, before one is looked for.

    F of all nodes         every node that the training pairs know is kept
    F of features alone    of these, the features; SAE errors take their reference value
    passing                (m(M) − m(∅ at these sites)) / (m(M) − m(∅ at all sites))

F is that of the sites tried: everything else of the model runs as it is. A node is known if its clean and its patch
value differ in some training pair; others are at their reference, as they are outside every circuit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from graphs.fields.quantities import Count
from graphs.plain_data import dataclass_from_plain
from graphs.short_repr import short_repr

LEAST_PASSING: Final = 0.9
"""Sites are proposed if at least this share of the effect passes through them."""
MORE: Final = 0.05
"""Sites let clearly more through if F of all nodes, or of features alone, is closer to 1 by at least this."""
LESS: Final = 0.01
"""And if F of all nodes is not farther from 1 by more than this."""


@dataclass(frozen=True)
class SitesTried:
    """What nodes at some sites reach.

    Attributes:
        kind: of the sites, as in `resid_post`; `all` for all that are spliced.
        sites, nodes: their number, and that of the features and errors there that the training pairs know.
        faithfulness: F of all these nodes; None where F is undefined, as where nothing passes.
        features_alone: F of the features among them.
        passing: the share of the effect that passes through these sites.
    """

    kind: str
    sites: Count
    nodes: Count
    faithfulness: float | None
    features_alone: float | None
    passing: float


@dataclass(frozen=True)
class TrialOfSites:
    """What all sites reach together, and what each kind of them reaches.

    Attributes:
        split, pairs: the prompts on which F was measured, and their number.
        every: all sites together.
        kinds: each kind of site, in the order of the forward pass.
    """

    __repr__ = short_repr

    split: str
    pairs: Count
    every: SitesTried
    kinds: tuple[SitesTried, ...]

    @property
    def proposed(self) -> tuple[SitesTried, ...]:
        """The kinds of sites that let clearly more through than all sites together, the best first."""
        better = [own for own in self.kinds if self._lets_more_through(own)]
        return tuple(sorted(better, key=lambda own: _missing(own.faithfulness) + _missing(own.features_alone)))

    @property
    def as_good(self) -> tuple[SitesTried, ...]:
        """The kinds of sites that let as much through with fewer nodes, the fewest first."""
        return tuple(sorted(filter(self._lets_as_much_through, self.kinds), key=lambda own: own.nodes))

    def _lets_as_much_through(self, own: SitesTried) -> bool:
        return own.passing >= LEAST_PASSING and self._gain(own, "faithfulness") >= -LESS

    def _lets_more_through(self, own: SitesTried) -> bool:
        gain = max(self._gain(own, name) for name in ("faithfulness", "features_alone"))
        return self._lets_as_much_through(own) and gain >= MORE

    def _gain(self, own: SitesTried, name: str) -> float:
        """How much closer to 1 the nodes there come than all nodes."""
        return _missing(getattr(self.every, name)) - _missing(getattr(own, name))


def _missing(faithfulness: float | None) -> float:
    """How far F is from 1, on either side."""
    return float("inf") if faithfulness is None else abs(1 - faithfulness)


def trial_from_plain(content: Mapping[str, Any]) -> TrialOfSites:
    """The inverse of `as_plain_data` for a trial; fields that do not fit are a ValueError."""

    def tried(row: Mapping[str, Any]) -> SitesTried:
        return dataclass_from_plain(SitesTried, row)

    return dataclass_from_plain(TrialOfSites, content, every=tried, kinds=tried)
