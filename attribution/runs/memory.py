"""Memory: batch sizes that fit into a given number of bytes.

    a pair holds   recordings   positions · [2 · (L + 1) · d_model + Σ sites (3 to 6 · width + d_sae / 4)]
                                + 4 · vocabulary
                   projections  positions · 2 · Σ d_sae, of chord IG where encoders run, unless that is too much
                   encoding     positions · 6 · largest d_sae
                   plain runs   positions · L · 6 · d_model, of exact patching (4 · d_model without sites inside blocks)
                   a graph      of each point of a path, whole or block by block (`splice/graph_bytes.py`)
    float64        8 bytes for each weight of the model and its SAEs, for as long as runs are repeated in float64

A graph goes through all blocks, or through those of the largest section between residual sites, for chord IG. It is
held block by block where it does not fit whole, even for a single pair.

These are upper estimates from shapes, in numbers of the wider dtype of the model and its SAEs; the loaded weights are
not included. A batch takes as many pairs as fit, up to the size beyond which larger batches are no faster.
"""

import ctypes
import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.graph_bytes import GraphBytes, graph_bytes, itemsize, widths_of
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
_UNDIVIDED_POINTS: Final = {"ig-input": 5}
"""Points of which a method holds the graphs at once even of a single pair."""
_MOST_PAIRS: Final = {"ig-input": 4, "chord-ig": 4}
"""Pairs in a batch of a method beyond which larger batches are no faster."""
_BY_SECTIONS: Final = ("chord-ig", "edges")
"""What runs section by section. `edges`, those of chord IG, is no name in `METHODS`."""
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
        encoding: bytes that it takes to make them.
        projections: bytes of the projections that they keep for the secants of chord IG.
        plain: bytes that a recorded run holds in plain blocks, for exact patching.
        graphs: the gradient graph of a run: of a pair at one point of a path.
        sections: that of the largest section of the network between residual sites, encoders not run.
        a_run: bytes that one patched run of whole blocks holds.
        masks: the gradient graph of a masked run, in which every encoder runs.
        promoted: bytes that a float64 copy of all weights holds.
        count: number of pairs.
        length: tokens of the longest prompt.
        sites: number of spliced sites.
        most_cone_bytes: bytes of cone runs beyond which more are no faster.
    """

    __repr__ = short_repr

    size: int
    recorded: int
    encoding: int
    projections: int
    plain: int
    graphs: GraphBytes
    sections: GraphBytes
    a_run: int
    masks: GraphBytes
    promoted: int
    count: int
    length: int
    sites: int
    most_cone_bytes: int

    @classmethod
    def of(cls, spliced: SplicedModel, pairs: PromptPairs, error_mode: ErrorMode, size: int | None = None) -> "Room":
        """A room of `size` bytes; by default half of the free memory."""
        refuse_other_mode(error_mode)
        length, layers = max(len(pair) for pair in pairs), spliced.model.n_layers
        given = spliced.model, spliced.saes, length
        of_a_number = itemsize(spliced.model, spliced.saes)
        return cls(
            size=_allowed(spliced, size),
            recorded=_bytes_of_recordings(spliced, length, error_mode),
            encoding=6 * length * max(sae.d_sae for sae in spliced.saes.values()) * of_a_number,
            projections=2 * length * sum(sae.d_sae for sae in spliced.saes.values()) * of_a_number,
            plain=(4 if all(map(is_residual, spliced.sites)) else 6)
            * length
            * layers
            * spliced.model.d_model
            * of_a_number,
            graphs=graph_bytes(*given, layers, () if error_mode == "live" else spliced.sites),
            sections=graph_bytes(*given, _longest_section(spliced), ()),
            a_run=_bytes_of_run(spliced, length, error_mode),
            masks=graph_bytes(*given, layers, spliced.sites),
            promoted=_bytes_in_float64(spliced),
            count=len(pairs),
            length=length,
            sites=len(spliced.sites),
            most_cone_bytes=_MOST_CONE_BYTES.get(spliced.model.device.type, _MOST_CONE_BYTES["other"]),
        )

    def fitted(self, spliced: SplicedModel) -> SplicedModel:
        """The same, with those gradient graphs held block by block that do not fit whole."""
        return spliced.within(self.graph_limit, keeps_projections=self.keeps_projections)

    def refuse_if_too_small(self, *methods: str) -> None:
        """Refuse a room that is too small for a single pair.

        Args:
            methods: names in `METHODS`, or `search`; some hold more than exact patching and gradients at one point.

        Raises:
            ValueError: the message says how much memory is needed.
        """
        least = max(self.least_for(method) for method in ("exact", *methods))
        needed = -(-least // 2**20)
        if least > self.size:
            raise ValueError(
                f"One pair of {self.length} tokens with SAEs at {self.sites} sites needs about {needed} MiB in "
                f"addition to the weights, but only {self.size // 2**20} MiB are allowed. "
                f"Give --memory {needed}M or more, SAEs at fewer sites, or shorter prompts."
            )

    def least_for(self, method: str) -> int:
        """Bytes that a single pair needs, however its batches and graphs are cut."""
        if method in ("mask-path", "search"):
            return 2 * (self.recorded + self.masks.least)
        graph = max(_UNDIVIDED_POINTS.get(method, 1) * self.graphs.least, self.sections.least)
        return self.recorded + max(self.encoding, graph, self.plain + self.a_run)

    def pairs(self, method: str, most: int = 16) -> int:
        """The number of pairs in a batch of a method, which is given by its name in `METHODS`.

        It is a power of two, so that a little more or less free memory leaves it as it is: where a batch is a chunk,
        another size would make earlier chunks useless.
        """
        if method == "mask-path":
            return min(self.masked_pairs, most)
        points = _POINTS.get(method, 0 if method in ("exact", "activation-difference") else 1)
        of_a_pair = points * (self.section if method in _BY_SECTIONS else self.graph)
        if method == "exact":
            of_a_pair = self.plain
        share = self.size // 2 if method == "exact" else self.size
        fit = share // (self._recorded_for(method) + max(of_a_pair, self.encoding))
        wanted = max(1, min(_MOST_PAIRS.get(method, most), fit))
        return 1 << (wanted.bit_length() - 1)

    def runs_of(self, method: str, most: int = 16) -> int | None:
        """Runs, one for each pair and point, whose graphs a method may hold at a time; None for those without points.

        As many as a batch of `pairs` has, unless that is too much for a single pair.
        """
        if method != "ig" and method not in _BY_SECTIONS:
            return None
        beside = 3 * self.pairs(method, most) * self._recorded_for(method) // 2  # recordings, and what is made of them
        return max(1, (self.size - beside) // (self.section if method in _BY_SECTIONS else self.graph))

    def _recorded_for(self, method: str) -> int:
        """Bytes of a pair's recordings, with the projections that a method needs."""
        return self.recorded + (self.projections if method in _BY_SECTIONS and self.keeps_projections else 0)

    @property
    def graph_limit(self) -> int:
        """The bytes of the largest gradient graph that is held whole; see `SplicedModel.within`."""
        return self._beside_recordings - (self.projections if self.keeps_projections else 0)

    @property
    def keeps_projections(self) -> bool:
        """Whether a pair's projections leave enough for everything else."""
        return 4 * self.projections <= self._beside_recordings

    @property
    def _beside_recordings(self) -> int:
        """Bytes beside the recordings of a pair, and what is made of them."""
        return self.size - 3 * self.recorded // 2

    @property
    def graph(self) -> int:
        """Bytes of a run's graph through all blocks, as it is held."""
        return self.graphs.within(self.graph_limit)

    @property
    def section(self) -> int:
        """Bytes of a run's graph through the largest section, as it is held."""
        return self.sections.within(self.graph_limit)

    @property
    def masked(self) -> int:
        """Bytes of two masked runs, as they are held."""
        return 2 * self.masks.within(self.graph_limit // 2)

    @property
    def masked_pairs(self) -> int:
        """Pairs in a batch of masked runs: with gradients, and side by side with a second run for secants."""
        fit = self.size // (2 * self.recorded + self.masked)
        return 1 << (max(1, min(64, fit)).bit_length() - 1)

    @property
    def cone_bytes(self) -> int:
        """The bytes that the runs of one batch of cones may hold."""
        return max(1, min(self.most_cone_bytes, self._beside_plain_runs // 2))

    @property
    def runs(self) -> int:
        """The number of patched runs of whole blocks in one forward pass."""
        return max(1, min(_MOST_RUNS, self._beside_plain_runs // self.a_run))

    @property
    def _beside_plain_runs(self) -> int:
        return self.size - self.pairs("exact") * (self.recorded + self.plain)

    @property
    def walked_runs(self) -> int:
        """The number of runs on nodes' own paths in one forward pass: with gradients, and every encoder runs."""
        return self._runs_of(self.masks.within(self.graph_limit))

    @property
    def recorded_runs(self) -> int:
        """The number of runs in one forward pass whose recordings are kept until it ends."""
        return self._runs_of(self.recorded + self.encoding)

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
        recorded = 3 * min(self.pairs("exact"), self.count) * (self.recorded + self.plain)
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


def _bytes_of_recordings(spliced: SplicedModel, length: int, error_mode: ErrorMode) -> int:
    """Of the clean and the patch run: what every block reads, the errors of both and those patched in, features.

    Inside a block also what arrives at each site, and outside `live` mode what the clean run writes there.
    """
    model, width = spliced.model, 2 * (spliced.model.n_layers + 1) * spliced.model.d_model
    for site, sae in spliced.saes.items():
        vectors = 3 + 2 * (not is_residual(site)) + (error_mode != "live")
        width += vectors * sae.d_in + sae.d_sae // 4
    return (length * width + 4 * model.d_vocab) * itemsize(model, spliced.saes)


def _bytes_in_float64(spliced: SplicedModel) -> int:
    """Bytes of the copies that `models/double_precision.py` and the SAEs make; none of what is float64 already."""
    weights = list(spliced.model.module.parameters())
    weights += [w for sae in spliced.saes.values() for w in vars(sae).values() if isinstance(w, Tensor)]
    return 8 * sum(weight.numel() for weight in weights if weight.dtype != torch.float64)


def _longest_section(spliced: SplicedModel) -> int:
    """Blocks of the longest section between residual sites."""
    cuts = [0, *(first_block_after(site) for site in spliced.sites if is_residual(site)), spliced.model.n_layers]
    return max(end - start for start, end in pairwise(cuts))


def _bytes_of_run(spliced: SplicedModel, length: int, error_mode: ErrorMode) -> int:
    """Bytes of one patched run: the activations of one block at a time and, if encoders run, of one site."""
    model, (wide, heads) = spliced.model, widths_of(spliced.model)
    width = 12 * model.d_model + 4 * wide + 3 * heads * length
    if error_mode != "live":
        width += 6 * max(sae.d_sae for sae in spliced.saes.values())
    return (length * width + 2 * model.d_vocab) * itemsize(model, spliced.saes)
