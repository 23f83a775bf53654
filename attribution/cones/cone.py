"""The cone of a patch: only what it can change is executed.

    a patch at layer l, position p changes      layer l at position p,
                                                layers above l at positions p, p + 1, ..., end,
                                                of the last layer only what the metric's positions read

`end` is the last position that the metric reads, usually the only one and the last of the prompt.

Runs that enter the same block are batched, whatever the row and site of their patch (`cone_batches.py`). Keys and
values of earlier positions are the clean run's. In the first block above the patch, queries, keys and values of one
position are new. The last block computes the queries of the positions read, and only the logits that the metric reads
are computed. In `frozen` and `zero` mode the SAEs within the cone encode once and decode their active features only.
Equal to whole forwards up to the order of sums. Source: this project; measured in benchmarks/RESULTS.md.
"""

from dataclasses import dataclass

import torch
from einops import EinopsError
from jaxtyping import Float, Int
from torch import Tensor

from attribution.cones.cone_batches import RunPrice, batch_overhead, runs_in_waves
from attribution.cones.plain_run import PlainLayer, PlainRun, part_of, plain_run
from attribution.cones.reconstruction import Seen, reconstructed
from attribution.cones.suffix_attention import suffix_attention, visible_keys
from attribution.cones.window import RowsAndPositions, Window
from attribution.models.architectures import UnknownArchitecture
from attribution.models.plain_blocks import PlainModel, Rotation, rotated
from attribution.models.site_names import layer_of
from attribution.splice.gate_watch import GateWatch
from attribution.splice.recording import ErrorMode, Recording
from attribution.splice.resuming import TOKENS, Resumable


@dataclass(frozen=True)
class RunStarts:
    """Runs that differ from the clean run of their row at one position each, where they enter a block.

    `vector[n]` is the residual stream into `block` at (row[n], pos[n]); `block` may be one past the last.
    """

    block: int
    row: Int[Tensor, " run"]
    pos: Int[Tensor, " run"]
    vector: Float[Tensor, "run d_model"]


@dataclass(frozen=True)
class Cone:
    """The cones of patches of one recorded batch. `watch`, if there is one, watches the runs executed next."""

    spliced: Resumable
    recording: Recording
    error_mode: ErrorMode
    clean: PlainRun
    watch: GateWatch | None = None

    @classmethod
    def of(cls, spliced: Resumable, plain: PlainModel, recording: Recording, error_mode: ErrorMode) -> "Cone":
        """Prepare the cones of a recorded run.

        Raises:
            UnknownArchitecture: the plain blocks do not run, or compute something else than the recorded run.
        """
        try:
            clean = plain_run(spliced.model, plain, recording)
        except torch.OutOfMemoryError:
            raise
        except (TypeError, AttributeError, IndexError, RuntimeError, EinopsError) as error:
            raise UnknownArchitecture(f"its blocks do not run as they seem to: {error}") from error
        return cls(spliced, recording, error_mode, clean)

    @property
    def read(self) -> Int[Tensor, "row read"]:
        """The positions that the metric reads."""
        read = self.recording.read
        return read if read.ndim == 2 else read[:, None]

    @property
    def ends(self) -> Int[Tensor, " row"]:
        """The last position of each row that the metric reads: what comes after it changes nothing."""
        return self.read.amax(1)

    @property
    def layers(self) -> tuple[PlainLayer, ...]:
        return self.clean.layers

    def entered_block(self, site: str) -> int:
        """The first block whose input is changed by a patch at the site."""
        if site == TOKENS:
            return 0
        return layer_of(site) + (part_of(site) != "hook_resid_pre")

    def start(
        self, site: str, row: Int[Tensor, " run"], pos: Int[Tensor, " run"], output: Float[Tensor, "run width"]
    ) -> Float[Tensor, "run d_model"]:
        """The residual stream into `entered_block` at each run's position, when the site writes `output` there."""
        at = row, pos
        if site == TOKENS:
            return self._splice(0, "hook_resid_pre", output, at)
        if (part := part_of(site)) in ("hook_resid_pre", "hook_resid_post"):
            vector = output
        else:
            number = layer_of(site)
            layer = self.layers[number]
            x = layer.inputs[at]
            assert layer.attention is not None
            assert layer.mlp is not None
            attention = layer.attention[at]
            if part == "attn.hook_z":
                attention = self._attention_of(number, output, at)
            elif part == "hook_attn_out":
                attention = self._normed(layer, part, output)
            if part == "hook_mlp_out":
                mlp = self._normed(layer, part, output)
            elif layer.block.parallel:
                mlp = layer.mlp[at]
            else:
                mlp = self._mlp_of(number, x, attention, at)
            vector = self._splice(number, "hook_resid_post", x + attention + mlp, at)
        if part == "hook_resid_pre":
            return vector
        return self._splice(layer_of(site) + 1, "hook_resid_pre", vector, at)

    def lengths(self, row: Int[Tensor, " run"], pos: Int[Tensor, " run"]) -> Int[Tensor, " run"]:
        """Number of positions that a patch can change: from its own to the row's end; none for one after it."""
        return (self.ends[row] + 1 - pos).clamp(min=0)

    def waves(
        self, row: Int[Tensor, " run"], pos: Int[Tensor, " run"], bytes_at_once: int
    ) -> list[list[Int[Tensor, " batch"]]]:
        """Waves of batches: the runs of a batch are executed together, those of a wave enter their block together."""
        flops = 24.0 * self.spliced.model.d_model**2  # of a block at one position, about
        price = RunPrice(flops, batch_overhead(row.device), self.bytes_of_a_run)
        return runs_in_waves(row, self.lengths(row, pos), price, bytes_at_once)

    def bytes_of_a_run(self, length: int) -> int:
        """Most bytes that one run of so many positions holds at a time."""
        layer, model = self.layers[0], self.spliced.model
        width = 12 * model.d_model + 4 * int(getattr(model.module.cfg, "d_mlp", None) or 4 * model.d_model)
        if self.error_mode != "live":
            width += 3 * max(sae.d_sae for sae in self.spliced.saes.values())
        positions = layer.keys.shape[1]
        scores = 3 * layer.queries.shape[2] * positions
        keys_and_values = 4 * positions * layer.keys.shape[2] * layer.keys.shape[3]
        return (length * (width + scores) + keys_and_values) * layer.inputs.element_size()

    def upwards(self, starts: RunStarts) -> Float[Tensor, "run read d_model"]:
        """The last residual stream at the positions read of every run, all of them executed together."""
        read = self.read[starts.row]
        clean = self.clean.end[starts.row[:, None], read]
        if starts.block == len(self.layers):
            return torch.where((read == starts.pos[:, None])[..., None], starts.vector[:, None], clean)
        window, places = self._window(starts.row, starts.pos)
        hidden = window.for_each(self.layers[starts.block].inputs, len(starts.row))
        hidden[places] = starts.vector
        for number in range(starts.block, len(self.layers)):
            queries, keys, values = self._projected(number, hidden, window, places if number == starts.block else None)
            wanted = window
            if number == len(self.layers) - 1:
                wanted = window.at(read)
                queries, hidden = (window.places_of(wanted, values) for values in (queries, hidden))
            hidden = self._block(number, hidden, queries, keys, values, window, wanted)
        return torch.where((read < starts.pos[:, None])[..., None], clean, hidden)

    def _window(self, row: Tensor, pos: Tensor) -> tuple[Window, RowsAndPositions]:
        """The window of some runs, and the place of each run's own position in it."""
        last, length = self.ends[row], self.lengths(row, pos)
        size = int(length.max())
        places = torch.arange(len(row), device=row.device), size - length
        if bool((row == row[0]).all()):
            row, last = row[:1], last[:1]
        return Window(row[:, None], last[:, None] + 1 - size + torch.arange(size, device=row.device)), places

    def _projected(
        self,
        number: int,
        hidden: Float[Tensor, "run pos d_model"],
        window: Window,
        places: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries, rotated keys, and values; with `places`, all but these are the clean run's."""
        layer = self.layers[number]
        block = layer.block
        if places is None:
            q, k, v = block.queries_keys_values(block.norm(hidden))
            turn = _turn(layer, window.here)
            return rotated(q, turn), rotated(k, turn), v
        q, k, v = block.queries_keys_values(block.norm(hidden[places]))
        turn = _turn(layer, window.here.expand(len(hidden), -1)[places])  # one position a run, each turned by its own
        found = []
        for clean, own in zip(
            (layer.queries, layer.keys, layer.values), (rotated(q, turn), rotated(k, turn), v), strict=True
        ):
            whole = window.for_each(clean, len(hidden))
            whole[places] = own
            found.append(whole)
        return found[0], found[1], found[2]

    def _block(
        self,
        number: int,
        hidden: Float[Tensor, "run wanted d_model"],
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        window: Window,
        wanted: Window,
    ) -> Float[Tensor, "run wanted d_model"]:
        """One block at the wanted positions of a window, and the splice before the next block."""
        layer, before = self.layers[number], window.before()
        old_keys, old_values = before.of(layer.keys), before.of(layer.values)
        if len(old_keys) > 1:
            keys, values = torch.cat([old_keys, keys], 1), torch.cat([old_values, values], 1)
            old_keys, old_values = old_keys[:, :0], old_values[:, :0]
        shown = visible_keys(torch.cat([before.here, window.here], 1), wanted.here, layer.block.window)
        z = suffix_attention(layer.block, queries, keys, values, old_keys[0], old_values[0], shown)
        at = wanted.row, wanted.here.clamp(min=0)
        z = self._splice(number, "attn.hook_z", z.flatten(2), at)
        attention = self._attention_of(number, z, at)
        mlp = self._mlp_of(number, hidden, attention, at)
        after = self._splice(number, "hook_resid_post", hidden + attention + mlp, at)
        return self._splice(number + 1, "hook_resid_pre", after, at)

    def _attention_of(self, number: int, z: Tensor, at: RowsAndPositions) -> Tensor:
        """What attention adds to the residual stream, given z after its site, heads flattened."""
        return self._added(number, "hook_attn_out", self.layers[number].block.output(z), at)

    def _mlp_of(self, number: int, x: Tensor, attention: Tensor, at: RowsAndPositions) -> Tensor:
        """What the MLP adds to the residual stream."""
        return self._added(number, "hook_mlp_out", self.layers[number].block.mlp_written(x, attention), at)

    def _added(self, number: int, part: str, written: Tensor, at: RowsAndPositions) -> Tensor:
        """What a part adds to the residual stream, after its site and norm in the order that the recording shows."""
        layer = self.layers[number]
        norm = layer.block.norm_after(part)
        if norm is not None and not layer.site_before_norm.get(part, False):
            written = norm(written)
        return self._normed(layer, part, self._splice(number, part, written, at))

    def _normed(self, layer: PlainLayer, part: str, output: Tensor) -> Tensor:
        """The output of a part's site after the norm that follows the site, if there is one."""
        norm = layer.block.norm_after(part)
        return norm(output) if norm is not None and layer.site_before_norm.get(part, False) else output

    def _splice(self, number: int, part: str, x: Tensor, at: RowsAndPositions) -> Tensor:
        """The output of a site at some places, given the activation that arrives there."""
        site = f"blocks.{number}.{part}"
        if self.error_mode == "live" or site not in self.spliced.saes:
            return x
        record, run = self.recording.sites[site], None
        gates, place = record.at_threshold, None
        if gates is not None:
            place = gates.places(*at).expand(x.shape[:-1]).flatten()
        if self.watch is not None:
            run = self.watch.run_of(at[1], self.recording.spliced[at])
        seen = Seen(gates, place, self.watch, run)
        written = reconstructed(self.spliced.saes[site], x.flatten(0, -2), seen).reshape(x.shape)
        if self.error_mode == "frozen":
            assert record.error is not None
            written = written + record.error[at]
        return torch.where(self.recording.spliced[at][..., None], written.to(x.dtype), x)


def _turn(layer: PlainLayer, here: Int[Tensor, "*pos"]) -> Rotation | None:
    """The rotation of some positions; those before a text begins take its first."""
    if layer.rotation is None:
        return None
    cos, sin = layer.rotation
    return cos[here.clamp(min=0)], sin[here.clamp(min=0)]
