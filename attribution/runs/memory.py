"""Memory: batch sizes that fit into a given number of bytes.

    a pair holds   recordings   2 · positions · [Σ sites 3 · width + (L + 1) · d_model] + 4 · vocabulary
                   plain runs   positions · L · 6 · d_model
                   encoding     positions · 6 · largest d_sae
                   a graph      points · (positions · [L · block + 4 · (d_sae + d_in) of encoders that run]
                                + 2 · vocabulary)
                   a section    points · (positions · (blocks between residual sites + 2) · block + 2 · vocabulary)
    block          12 · d_model + 3 · d_mlp + 3 · heads · positions
    float64        8 bytes for each weight of the model and its SAEs, for as long as runs are repeated in float64

These are upper estimates from shapes, in numbers of the wider dtype of the model and its SAEs; the loaded weights are
not included. A batch takes as many pairs as fit, up to the size beyond which larger batches are no faster. Results are
sparse and small compared with a batch, so they are not counted.
"""

import ctypes
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from attribution.models.language_model import LanguageModel
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.recording import ErrorMode, refuse_other_mode
from attribution.splice.resuming import first_block_after, is_residual
from attribution.splice.spliced_model import SplicedModel
from graphs.short_repr import short_repr

SHARE_OF_FREE: Final = 0.5
"""Share of the free memory that a run takes unless it is told how much it may take."""
BYTES_AT_ONCE: Final = 96 * 2**20
"""Bytes of activations with which runs are fastest on a CPU: more do not fit into its cache."""
_POINTS: Final = {"ig": 5, "ig-input": 9, "chord-ig": 10}
"""Points of a path that are held at a time for each pair, by method; fewer where that is too much for one pair."""
_MOST_PAIRS: Final = {"ig-input": 4, "chord-ig": 4}
"""Pairs in a batch of a method beyond which larger batches are no faster."""
_MOST_CONE_BYTES: Final = {"cpu": BYTES_AT_ONCE, "other": 4 * 2**30}
_MOST_RUNS: Final = 256
_MMAP_THRESHOLD: Final = -3
"""glibc's number of that parameter."""


def pieces_at_once(spliced: SplicedModel, longest: int, size: int | None, most: int = 32) -> int:
    """The number of texts of `longest` tokens that run at once where no more is kept than a few features of each.

    It fits into `size` bytes, by default half of the free memory, and is at least 1.
    """
    return max(1, min(most, _allowed(spliced, size) // _bytes_of_run(spliced, longest, "frozen")))


def texts_at_once(
    spliced: SplicedModel, longest: int, size: int | None, most: int = 32, bytes_of_a_logit: int | None = None
) -> int:
    """The number of texts of `longest` tokens in a batch of which all logits are looked at.

    It fits into `size` bytes, by default half of the free memory. Such a batch holds the logits, by default six times,
    and for every site the features and the reconstruction. The number is at least 1, even if a single text needs more
    memory than there is, as it may with a large vocabulary.
    """
    parts = sum(sae.d_sae * sae.W_dec.element_size() + 2 * sae.d_in * 8 for sae in spliced.saes.values())
    of_a_logit = 6 * spliced.model.dtype.itemsize if bytes_of_a_logit is None else bytes_of_a_logit
    fit = _allowed(spliced, size) // (longest * (parts + of_a_logit * spliced.model.d_vocab))
    return 1 << (max(1, min(most, fit)).bit_length() - 1)


def free_bytes(device: torch.device) -> int:
    """Free bytes of the GPU; on a CPU, of the machine's memory, within the limit of its container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    info = Path("/proc/meminfo")
    if not info.is_file():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    fields = dict(line.split(":") for line in info.read_text(encoding="ascii").splitlines())
    free = int(fields["MemAvailable"].split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    limit, used = group / "memory.max", group / "memory.current"
    if limit.is_file() and used.is_file() and (most := limit.read_text().strip()) != "max":
        free = min(free, max(0, int(most) - int(used.read_text())))
    return free


def give_back_freed_memory() -> None:
    """Have blocks of 1 MiB and more given back to the system as soon as they are freed, where glibc allots memory.

    It keeps freed blocks of up to 32 MiB otherwise, so that a process holds more than it ever uses at a time.
    """
    try:
        ctypes.CDLL("libc.so.6").mallopt(_MMAP_THRESHOLD, 2**20)
    except (OSError, AttributeError):
        return


@dataclass(frozen=True)
class Room:
    """How many bytes may be held at a time, and how many a pair with the longest prompt holds.

    Attributes:
        size: bytes that may be held at a time, the loaded weights not included.
        recorded: bytes that the recordings of a pair hold.
        graph: bytes that the gradient graph of a pair holds, at one point of a path.
        section: bytes that it holds of the largest section of the network between residual sites, encoders not run.
        a_run: bytes that one patched run of whole blocks holds.
        masked: bytes that the gradient graph of a masked run holds, in which every encoder runs.
        promoted: bytes that a float64 copy of all weights holds.
        count: number of pairs.
        length: tokens of the longest prompt.
        sites: number of spliced sites.
        most_cone_bytes: bytes of cone runs beyond which more are no faster.
    """

    __repr__ = short_repr

    size: int
    recorded: int
    graph: int
    section: int
    a_run: int
    masked: int
    promoted: int
    count: int
    length: int
    sites: int
    most_cone_bytes: int

    @classmethod
    def of(cls, spliced: SplicedModel, pairs: PromptPairs, error_mode: ErrorMode, size: int | None = None) -> "Room":
        """A room of `size` bytes; by default half of the free memory."""
        refuse_other_mode(error_mode)
        length = max(len(pair) for pair in pairs)
        return cls(
            size=_allowed(spliced, size),
            recorded=_bytes_of_recordings(spliced, length),
            graph=_bytes_of_graph(spliced, length, error_mode),
            section=_bytes_of_section(spliced, length),
            a_run=_bytes_of_run(spliced, length, error_mode),
            masked=_bytes_of_graph(spliced, length, "frozen"),
            promoted=_bytes_in_float64(spliced),
            count=len(pairs),
            length=length,
            sites=len(spliced.sites),
            most_cone_bytes=_MOST_CONE_BYTES.get(spliced.model.device.type, _MOST_CONE_BYTES["other"]),
        )

    def refuse_if_too_small(self) -> None:
        """Refuse a room that is too small for a single pair.

        Raises:
            ValueError: the message says how much memory is needed.
        """
        least = self.recorded + max(self.graph, self.a_run)
        needed = -(-least // 2**20)
        if least > self.size:
            raise ValueError(
                f"One pair of {self.length} tokens with SAEs at {self.sites} sites needs about {needed} MiB in "
                f"addition to the weights, but only {self.size // 2**20} MiB are allowed. "
                f"Give --memory {needed}M or more, SAEs at fewer sites, or shorter prompts."
            )

    def pairs(self, method: str, most: int = 16) -> int:
        """The number of pairs in a batch of a method, which is given by its name in `METHODS`.

        It is a power of two, so that a little more or less free memory leaves it as it is: where a batch is a chunk,
        another size would make earlier chunks useless.
        """
        if method == "mask-path":
            return min(self.masked_pairs, most)
        points = _POINTS.get(method, 0 if method in ("exact", "activation-difference") else 1)
        share = self.size // 2 if method == "exact" else self.size
        fit = share // (self.recorded + points * (self.section if method == "chord-ig" else self.graph))
        wanted = max(1, min(_MOST_PAIRS.get(method, most), fit))
        return 1 << (wanted.bit_length() - 1)

    def runs_of(self, method: str) -> int | None:
        """Runs, one for each pair and point, whose graphs a method may hold at a time; None for those without points.

        As many as a batch of `pairs` has, unless that is too much for a single pair.
        """
        of_a_run = {"ig": self.graph, "chord-ig": self.section}.get(method)
        beside = 3 * self.pairs(method) * self.recorded // 2  # recordings, and what is made of them
        return None if of_a_run is None else max(1, (self.size - beside) // of_a_run)

    @property
    def masked_pairs(self) -> int:
        """Pairs in a batch of masked runs: with gradients, and side by side with a second run for secants."""
        fit = self.size // (2 * (self.recorded + self.masked))
        return 1 << (max(1, min(64, fit)).bit_length() - 1)

    @property
    def cone_bytes(self) -> int:
        """The bytes that the runs of one batch of cones may hold."""
        return max(1, min(self.most_cone_bytes, (self.size - self.pairs("exact") * self.recorded) // 2))

    @property
    def runs(self) -> int:
        """The number of patched runs of whole blocks in one forward pass."""
        return max(1, min(_MOST_RUNS, (self.size - self.pairs("exact") * self.recorded) // self.a_run))

    @property
    def walked_runs(self) -> int:
        """The number of runs on nodes' own paths in one forward pass: with gradients, and every encoder runs."""
        return self._runs_of(self.masked)

    @property
    def recorded_runs(self) -> int:
        """The number of runs in one forward pass whose recordings are kept until it ends."""
        return self._runs_of(self.recorded)

    def _runs_of(self, size: int) -> int:
        """Runs of so many bytes each, beside the recordings of a batch of pairs."""
        return max(1, min(_MOST_RUNS, (self.size - self.pairs("atp") * self.recorded) // size))

    @property
    def holds_float64(self) -> bool:
        """Whether runs can be repeated in float64."""
        return self._float64_needs <= self.size

    @property
    def _float64_needs(self) -> int:
        """Bytes of a float64 copy of all weights, of the recordings of a batch in both dtypes, and of its runs."""
        recorded = 3 * min(self.pairs("exact"), self.count) * self.recorded
        return self.promoted + recorded + max(self.cone_bytes, 2 * self.a_run)

    @property
    def float64_in_words(self) -> str:
        """Why nothing is measured in float64 where it does not fit."""
        needed, allowed = (-(-size // 2**20) for size in (self._float64_needs, self.size))
        return f"it needs about {needed:,} MiB, and {allowed:,} MiB are allowed (--memory)"

    def texts(self, spliced: SplicedModel, longest: int, most: int = 32, bytes_of_a_logit: int | None = None) -> int:
        """The number of texts of `longest` tokens in a batch of which all logits are looked at (`texts_at_once`)."""
        return texts_at_once(spliced, longest, self.size, most, bytes_of_a_logit)


def _allowed(spliced: SplicedModel, size: int | None) -> int:
    """The bytes that may be held: those given, or a share of what is free."""
    return int(SHARE_OF_FREE * free_bytes(spliced.model.device)) if size is None else size


def _itemsize(spliced: SplicedModel) -> int:
    return max(spliced.model.dtype.itemsize, *(sae.W_dec.element_size() for sae in spliced.saes.values()))


def _model_sizes(model: LanguageModel) -> tuple[int, int, int, int]:
    """Layers, width of the MLP, heads and vocabulary."""
    cfg = model.module.cfg
    wide = int(getattr(cfg, "d_mlp", None) or 4 * model.d_model)
    return model.n_layers, wide, int(getattr(cfg, "n_heads", None) or 1), model.d_vocab


def _bytes_of_recordings(spliced: SplicedModel, length: int) -> int:
    layers, _, _, vocabulary = _model_sizes(spliced.model)
    width = sum(3 * sae.d_in for sae in spliced.saes.values()) + (layers + 1) * spliced.model.d_model
    plain = layers * 6 * spliced.model.d_model
    encoding = 6 * max(sae.d_sae for sae in spliced.saes.values())
    return (length * (2 * width + plain + encoding) + 4 * vocabulary) * _itemsize(spliced)


def _bytes_of_graph(spliced: SplicedModel, length: int, error_mode: ErrorMode) -> int:
    width = spliced.model.n_layers * _block_in_graph(spliced.model, length)
    if error_mode != "live":
        width += sum(4 * sae.d_sae + 4 * sae.d_in for sae in spliced.saes.values())
    return (length * width + 2 * spliced.model.d_vocab) * _itemsize(spliced)


def _block_in_graph(model: LanguageModel, length: int) -> int:
    """Numbers that a block holds at a position for its backward."""
    _, wide, heads, _ = _model_sizes(model)
    return 12 * model.d_model + 3 * wide + 3 * heads * length


def _bytes_in_float64(spliced: SplicedModel) -> int:
    """Bytes of the copies that `models/double_precision.py` and the SAEs make; none of what is float64 already."""
    weights = list(spliced.model.module.parameters())
    weights += [w for sae in spliced.saes.values() for w in vars(sae).values() if isinstance(w, Tensor)]
    return 8 * sum(weight.numel() for weight in weights if weight.dtype != torch.float64)


def _bytes_of_section(spliced: SplicedModel, length: int) -> int:
    """The graph is kept for several backwards: the two blocks more are what a backward of one block makes."""
    cuts = [0, *(first_block_after(site) for site in spliced.sites if is_residual(site)), spliced.model.n_layers]
    layers = max(end - start for start, end in pairwise(cuts))
    width = (layers + 2) * _block_in_graph(spliced.model, length)
    return (length * width + 2 * spliced.model.d_vocab) * _itemsize(spliced)


def _bytes_of_run(spliced: SplicedModel, length: int, error_mode: ErrorMode) -> int:
    """Bytes of one patched run: the activations of one block at a time and, if encoders run, of one site."""
    _, wide, heads, vocabulary = _model_sizes(spliced.model)
    width = 12 * spliced.model.d_model + 4 * wide + 6 * heads * length
    if error_mode != "live":
        width += 6 * max(sae.d_sae for sae in spliced.saes.values())
    return (length * width + 2 * vocabulary) * _itemsize(spliced)
