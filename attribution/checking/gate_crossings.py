"""Crossings: where on the input path the gates of a ledger flip.

    α with μ_d(α) = 0 on the input path (`input_path.py`), found by bisection

A gate that differs between the two runs crosses its threshold an odd number of times. Two crossings less than 1/16 of
the path apart may be missed. If the jump of another gate carries μ_d past 0, α is the place of that jump.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attribution.methods.input_path import InputPath
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.runs.memory import Room
from attribution.runs.progress import Progress, silent
from attribution.splice.recording import ErrorMode
from attribution.splice.spliced_model import SplicedModel
from graphs import JumpLedger

_GRID = 16
_BISECTIONS = 18


def with_crossings(
    spliced: SplicedModel,
    pairs: PromptPairs,
    ledger: JumpLedger,
    *,
    error_mode: ErrorMode = "path",
    runs_at_once: int | None = None,
    progress: Progress = silent,
) -> JumpLedger:
    """The ledger with the α of every gate's crossings, in increasing order. Each is accurate to 4e-6 of the path.

    Args:
        spliced, pairs: the model and the pairs that the ledger belongs to.
        ledger: the ledger of chord IG, or its `strongest` entries. A crossing costs 18 runs, one for each bisection.
        error_mode: `path` or `zero`, the mode of the ledger.
        runs_at_once: runs in one forward pass; by default as many as fit into half of the free memory.
        progress: is called with the share of the work that is done.

    Raises:
        ValueError: another error mode, or a ledger whose sites are not those of the SAEs.
    """
    if error_mode not in ("path", "zero"):
        raise ValueError(f"Crossings are measured in error mode path or zero; got {error_mode!r}.")
    if ledger.sites != spliced.sites:
        raise ValueError(
            f"The ledger is of other sites ({', '.join(ledger.sites)}) than those of the SAEs "
            f"({', '.join(spliced.sites)}). Give the model that chord IG was swept on."
        )
    found: list[tuple[float, ...]] = [()] * len(ledger)
    runs_at_once = runs_at_once or Room.of(spliced, pairs, error_mode).recorded_runs
    with spliced.model.frozen():
        for example in np.unique(ledger.example).tolist():
            (entries,) = np.nonzero(ledger.example == example)
            path = _input_path(spliced, pairs, example, error_mode)
            gates = _Gates(path, ledger, torch.from_numpy(entries), runs_at_once)
            for entry, alphas in zip(entries.tolist(), gates.crossings(), strict=True):
                found[entry] = alphas
            progress(sum(map(bool, found)) / len(ledger))
    return replace(ledger, crossings=tuple(found))


def _input_path(spliced: SplicedModel, pairs: PromptPairs, example: int, error_mode: ErrorMode) -> InputPath:
    batch = pairs.batch([example], spliced.model.device)
    mode: ErrorMode = "zero" if error_mode == "zero" else "live"
    clean, patch = (spliced.record(ids, batch.last, mode) for ids in (batch.clean_ids, batch.patch_ids))
    return InputPath(spliced, clean, patch, batch.reached, error_mode)


class _Gates:
    """The gates of one example's ledger entries. Finds whether each is open at a given α."""

    def __init__(self, path: InputPath, ledger: JumpLedger, entries: Int[Tensor, " gate"], runs_at_once: int) -> None:
        self.path, self.runs_at_once = path, runs_at_once
        chosen = entries.numpy()
        self.site = torch.from_numpy(ledger.site[chosen].astype(np.int64))
        self.pos = torch.from_numpy(ledger.position[chosen].astype(np.int64))
        self.index = torch.from_numpy(ledger.index[chosen].astype(np.int64))

    def crossings(self) -> list[tuple[float, ...]]:
        """The α of each gate's crossings."""
        grid = torch.linspace(0, 1, _GRID + 1, dtype=torch.float64)
        every = torch.arange(len(self.site))
        opened = self._open_on(grid)
        interval, gate = torch.nonzero(opened[1:] != opened[:-1], as_tuple=True)
        left, right = grid[interval], grid[interval + 1]
        was_open = opened[interval, gate]
        for _ in range(_BISECTIONS):
            middle = (left + right) / 2
            same = self._open(gate, middle) == was_open
            left, right = torch.where(same, middle, left), torch.where(same, right, middle)
        alpha = (left + right) / 2
        return [tuple(sorted(alpha[gate == number].tolist())) for number in every.tolist()]

    def _open_on(self, grid: Float[Tensor, " point"]) -> Bool[Tensor, "point gate"]:
        """Which gates are open at each α. One run for each α serves all gates."""
        every = torch.arange(len(self.site))
        parts = [
            self._margins(every.repeat(len(a)), torch.arange(len(a)).repeat_interleave(len(every)), a)
            for a in grid.split(self.runs_at_once)
        ]
        return torch.cat([part.unflatten(0, (-1, len(every))) for part in parts]) > 0

    def _open(self, gate: Int[Tensor, " bracket"], alpha: Float[Tensor, " bracket"]) -> Bool[Tensor, " bracket"]:
        """Whether gate[n] is open at alpha[n]."""
        parts = [torch.zeros(0, dtype=torch.bool)]
        for g, a in zip(gate.split(self.runs_at_once), alpha.split(self.runs_at_once), strict=True):
            if len(g):
                parts.append(self._margins(g, torch.arange(len(g)), a) > 0)
        return torch.cat(parts)

    def _margins(
        self, gate: Int[Tensor, " asked"], run: Int[Tensor, " asked"], alpha: Float[Tensor, " run"]
    ) -> Float[Tensor, " asked"]:
        """The margin of gate[n] in run[n], with one run for each α."""
        device = self.path.clean.last.device
        recording = self.path.record(torch.zeros(len(alpha), dtype=torch.int64, device=device), alpha.to(device))
        result = torch.zeros(len(gate), dtype=torch.float64)
        for place in self.site[gate].unique().tolist():
            site = self.path.spliced.sites[place]
            sae = self.path.spliced.saes[site]
            (asked,) = torch.nonzero(self.site[gate] == place, as_tuple=True)
            x = recording.sites[site].arrival[run[asked].to(device), self.pos[gate[asked]].to(device)]
            encoding, at_threshold = sae.encode(x), self.path.clean.sites[site].at_threshold
            if at_threshold is not None:  # the path's only row is 0
                encoding = at_threshold.keep(encoding, self.pos[gate[asked]].to(device))
            margin = encoding.margin
            assert margin is not None
            chosen = margin.cpu().gather(1, self.index[gate[asked]][:, None])[:, 0]
            result[asked] = chosen.double()
        return result
