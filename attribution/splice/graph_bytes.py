"""How many bytes the gradient graph of a run holds, and which graphs are too large to be held whole.

    whole             positions · [(blocks + 1) · block + 4 · (d_sae + d_in) of encoders that run] + 2 · vocabulary
    block by block    positions · [blocks · d_model + 3/2 · block + 6 · (d_sae + d_in) of the largest encoder]
                      + 2 · vocabulary
    block             12 · d_model + 3 · d_mlp + 3 · heads · positions

Upper estimates from shapes, in numbers of the wider dtype of the model and its SAEs, for one run at one point of a
path. Block by block, the graph holds what enters each block, and a backward executes one block after the other again:
the same numbers to the last bit, for one more forward.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from attribution.dictionaries import SAE
from attribution.models.language_model import LanguageModel


@dataclass(frozen=True)
class GraphBytes:
    """The bytes of one run's graph, held whole and block by block."""

    whole: int
    by_block: int

    @property
    def least(self) -> int:
        """The bytes of the graph in the smaller way."""
        return min(self.whole, self.by_block)

    def within(self, limit: int) -> int:
        """The bytes of the graph as it is held where no more than `limit` may be held whole."""
        return self.whole if self.whole <= limit else self.least


def graph_bytes(
    model: LanguageModel, saes: Mapping[str, SAE], length: int, blocks: int, encoding: Iterable[str]
) -> GraphBytes:
    """The graph of a run of `length` tokens through so many blocks, with the encoders of the sites `encoding`."""
    widths = [saes[site].d_sae + saes[site].d_in for site in encoding]
    block = block_in_graph(model, length)
    whole = (blocks + 1) * block + 4 * sum(widths)
    by_block = blocks * model.d_model + 3 * block // 2 + 6 * max(widths, default=0)
    head, size = 2 * model.d_vocab, itemsize(model, saes)
    return GraphBytes((length * whole + head) * size, (length * by_block + head) * size)


def block_in_graph(model: LanguageModel, length: int) -> int:
    """Numbers that a block holds at a position for its backward."""
    wide, heads = widths_of(model)
    return 12 * model.d_model + 3 * wide + 3 * heads * length


def itemsize(model: LanguageModel, saes: Mapping[str, SAE]) -> int:
    """Bytes of a number of the wider dtype."""
    return max(model.dtype.itemsize, *(sae.W_dec.element_size() for sae in saes.values()))


def widths_of(model: LanguageModel) -> tuple[int, int]:
    """Width of the MLP, and heads."""
    cfg = model.module.cfg
    return int(getattr(cfg, "d_mlp", None) or 4 * model.d_model), int(getattr(cfg, "n_heads", None) or 1)
