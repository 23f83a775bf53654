"""What SAEs within a cone write back: D(E(x)), encoded once, decoded from active features only.

Gates that stood at their threshold in the clean run keep their state until they move (`splice/gate_rounding.py`), and
the runs whose gates come near their threshold are flagged on the way (`splice/gate_watch.py`).
"""

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.dictionaries import SAE
from attribution.dictionaries.kinds.sae import Encoding
from attribution.splice.gate_rounding import GatesAtThreshold
from attribution.splice.gate_watch import GateWatch

_ENCODED_BYTES: Final = 8 * 2**20
_FEWEST_ENCODED: Final = 256
"""Matrix products of fewer rows are slower."""


@dataclass(frozen=True)
class Seen:
    """What is known of the vectors at a site.

    Attributes:
        gates: the site's gates at their threshold in the clean run; None for none.
        place: the number of each vector's position, where there are such gates.
        watch: what watches the runs; `run` is the run of each vector, as `GateWatch.run_of` has it.
    """

    gates: GatesAtThreshold | None = None
    place: Int[Tensor, " place"] | None = None
    watch: GateWatch | None = None
    run: Int[Tensor, " place"] | None = None

    def part(self, own: slice) -> "Seen":
        """What is known of some of the vectors."""
        place, run = (None if column is None else column[own] for column in (self.place, self.run))
        return Seen(self.gates, place, self.watch, run)

    def active(self, sae: SAE, x: Float[Tensor, "place d_in"], encoding: Encoding) -> tuple[Tensor, Tensor, Tensor]:
        """Place, index and value of the features that are open, gates at their threshold in their clean state."""
        held = None
        if self.gates is not None and self.place is not None:
            encoding, held = self.gates.followed(encoding, self.place)
        if self.watch is None or self.run is None:
            return encoding.active()
        return self.watch.active(sae, x, encoding, held, self.run)


def reconstructed(sae: SAE, x: Float[Tensor, "place d_in"], seen: Seen | None = None) -> Float[Tensor, "place d_in"]:
    """The reconstruction D(E(x)), in parts that fit a cache; the decoder reads its rows of active features only."""
    size = max(_FEWEST_ENCODED, _ENCODED_BYTES // (sae.d_sae * sae.W_enc.element_size()))
    seen, parts = seen or Seen(), (slice(start, start + size) for start in range(0, max(1, len(x)), size))
    return torch.cat([_reconstructed(sae, x[part], seen.part(part)) for part in parts])


def _reconstructed(sae: SAE, x: Float[Tensor, "place d_in"], seen: Seen) -> Float[Tensor, "place d_in"]:
    encoding = sae.encode(x)
    place, index, value = seen.active(sae, x, encoding)
    starts = torch.searchsorted(place, torch.arange(len(x), device=place.device))
    return sae.decode_active(starts, index, value, encoding.frame)
