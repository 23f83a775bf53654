"""The cone of a patch: only what it can change is executed.

    a patch at layer l, position p changes      layer l at position p,
                                                layers above l at positions p, p + 1, ..., last,
                                                of the last layer only what the last position reads

Runs of one row that enter the same block are batched whatever site they were patched at; keys and values before their
first position are the clean run's and shared; in the first block above the patch only one position's queries, keys and
values are new; the last block computes one query; only the logits that the metric reads are computed. In `frozen` and
`zero` mode the SAEs within the cone encode once and decode their active features only. Equal to whole forwards up to
the order of sums. Source: this project; measured in benchmarks/RESULTS.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from einops import EinopsError
from jaxtyping import Float, Int
from torch import Tensor

from attribution.language_model import LanguageModel, layer_of
from attribution.plain_blocks import PlainModel, UnknownArchitecture, rotated
from attribution.plain_run import PlainLayer, PlainRun, part_of, plain_run
from attribution.recording import ErrorMode, Recording
from attribution.resuming import TOKENS, Resumable
from attribution.saes import SAE
from attribution.saes.normalisation import restore
from attribution.suffix_attention import suffix_attention

ENOUGH_RUNS = 64
"""Neighbouring positions are run together until there are so many runs."""


@dataclass(frozen=True)
class Starts:
    """Runs of one row that differ from the clean run at one position each, where they enter a block.

    `vector[n]` is the residual stream into `block` at `pos[n]`; `block` may be one past the last. Sorted by position.
    """

    row: int
    block: int
    pos: Int[Tensor, " run"]
    vector: Float[Tensor, "run d_model"]


@dataclass(frozen=True)
class Cone:
    """The cones of patches of one recorded batch."""

    spliced: Resumable
    recording: Recording
    error_mode: ErrorMode
    clean: PlainRun

    @classmethod
    def of(cls, spliced: Resumable, plain: PlainModel, recording: Recording, error_mode: ErrorMode) -> "Cone":
        """The recorded run prepared; plain blocks that differ from it, or do not run, are `UnknownArchitecture`."""
        try:
            clean = plain_run(spliced.model, plain, recording)
        except torch.OutOfMemoryError:
            raise
        except (TypeError, AttributeError, IndexError, RuntimeError, EinopsError) as error:
            raise UnknownArchitecture(f"its blocks do not run as they seem to: {error}") from error
        return cls(spliced, recording, error_mode, clean)

    @property
    def layers(self) -> tuple[PlainLayer, ...]:
        return self.clean.layers

    def entered_block(self, site: str) -> int:
        """The block whose input is the first thing above a site's own position that a patch there changes."""
        if site == TOKENS:
            return 0
        return layer_of(site) + (part_of(site) != "hook_resid_pre")

    def start(
        self, site: str, row: int, pos: Int[Tensor, " run"], output: Float[Tensor, "run width"]
    ) -> Float[Tensor, "run d_model"]:
        """What enters `entered_block` at each run's position when `output` is written there at a site."""
        if site == TOKENS:
            return self._splice(0, "hook_resid_pre", output, row, pos)
        if (part := part_of(site)) in ("hook_resid_pre", "hook_resid_post"):
            vector = output
        else:
            layer = self.layers[layer_of(site)]
            x = layer.inputs[row, pos]
            attention = layer.attention[row, pos]
            if part == "attn.hook_z":
                attention = self._attention_of(layer_of(site), output, row, pos)
            elif part == "hook_attn_out":
                attention = self._normed(layer, part, output)
            if part == "hook_mlp_out":
                mlp = self._normed(layer, part, output)
            elif layer.block.parallel:
                mlp = layer.mlp[row, pos]
            else:
                mlp = self._mlp_of(layer_of(site), x, attention, row, pos)
            vector = self._splice(layer_of(site), "hook_resid_post", x + attention + mlp, row, pos)
        if part == "hook_resid_pre":
            return vector
        return self._splice(layer_of(site) + 1, "hook_resid_pre", vector, row, pos)

    def at_last(self, starts: Starts, bytes_at_once: int) -> Float[Tensor, "run d_model"]:
        """The last residual stream at the last position of every run."""
        last = int(self.recording.last[starts.row])
        if starts.block == len(self.layers):
            return starts.vector  # of those at the last position; the others end in the clean run's
        return torch.cat([self._upwards(starts, s, last) for s in self.batches(starts.pos, last, bytes_at_once)])

    def batches(self, pos: Int[Tensor, " run"], last: int, bytes_at_once: int) -> Iterator[slice]:
        """Runs, sorted by position, that are executed together: neighbours, within the memory that is allowed."""
        places = pos.tolist()
        begin = 0
        while begin < len(places):
            most = max(1, bytes_at_once // self.bytes_of_a_run(last + 1 - places[begin]))
            end = begin
            while end < min(len(places), begin + most):
                if end - begin >= ENOUGH_RUNS and places[end] != places[end - 1]:
                    break
                end += 1
            yield slice(begin, end)
            begin = end

    def bytes_of_a_run(self, length: int) -> int:
        """What one run of so many positions holds at a time, at most."""
        layer, model = self.layers[0], self.spliced.model
        width = 12 * model.d_model + 3 * int(getattr(model.module.cfg, "d_mlp", None) or 4 * model.d_model)
        if self.error_mode != "live":
            width += 3 * max(sae.d_sae for sae in self.spliced.saes.values())
        scores = 3 * layer.queries.shape[2] * layer.queries.shape[1]
        return length * (width + scores) * layer.inputs.element_size()

    def _upwards(self, starts: Starts, part: slice, last: int) -> Float[Tensor, "run d_model"]:
        """All blocks from the entered one on, for some neighbouring runs."""
        row, pos, vector = starts.row, starts.pos[part], starts.vector[part]
        first = int(pos[0])
        here = torch.arange(first, last + 1, device=pos.device)
        runs = torch.arange(len(pos), device=pos.device), pos - first
        hidden = self.layers[starts.block].inputs[row, here].expand(len(pos), -1, -1).clone()
        hidden[runs] = vector
        for number in range(starts.block, len(self.layers)):
            queries, keys, values = self._projected(number, hidden, row, here, runs, number == starts.block)
            if number == len(self.layers) - 1:
                queries, hidden, here = queries[:, -1:], hidden[:, -1:], here[-1:]
            hidden = self._block(number, hidden, queries, keys, values, row, first, here)
        return hidden[:, -1]

    def _projected(
        self,
        number: int,
        hidden: Float[Tensor, "run pos d_model"],
        row: int,
        here: Int[Tensor, " pos"],
        runs: tuple[Tensor, Tensor],
        is_first: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values. In the first block all but one position's are the clean run's."""
        layer = self.layers[number]
        block = layer.block
        if not is_first:
            q, k, v = block.queries_keys_values(block.norm(hidden))
            return rotated(q, self._turn(here)), rotated(k, self._turn(here)), v
        q, k, v = block.queries_keys_values(block.norm(hidden[runs]))
        turn = self._turn(here[runs[1]])  # one position a run, each turned by its own
        found = []
        for clean, own in zip(
            (layer.queries, layer.keys, layer.values), (rotated(q, turn), rotated(k, turn), v), strict=True
        ):
            whole = clean[row, here].expand(len(hidden), -1, -1, -1).clone()
            whole[runs] = own
            found.append(whole)
        return found[0], found[1], found[2]

    def _turn(self, here: Int[Tensor, " pos"]) -> tuple[Tensor, Tensor] | None:
        rotation = self.clean.rotation
        return None if rotation is None else (rotation[0][here], rotation[1][here])

    def _block(
        self,
        number: int,
        hidden: Float[Tensor, "run wanted d_model"],
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        row: int,
        first: int,
        here: Int[Tensor, " wanted"],
    ) -> Float[Tensor, "run wanted d_model"]:
        """One block at the wanted positions, the last ones, and the splice before the next block."""
        layer = self.layers[number]
        z = suffix_attention(layer.block, queries, keys, values, layer.keys[row, :first], layer.values[row, :first])
        z = self._splice(number, "attn.hook_z", z.flatten(2), row, here)
        attention = self._attention_of(number, z, row, here)
        mlp = self._mlp_of(number, hidden, attention, row, here)
        after = self._splice(number, "hook_resid_post", hidden + attention + mlp, row, here)
        return self._splice(number + 1, "hook_resid_pre", after, row, here)

    def _attention_of(self, number: int, z: Tensor, row: int, pos: Tensor) -> Tensor:
        """What attention adds, given z as its site wrote it, with flat heads."""
        return self._added(number, "hook_attn_out", self.layers[number].block.output(z), row, pos)

    def _mlp_of(self, number: int, x: Tensor, attention: Tensor, row: int, pos: Tensor) -> Tensor:
        """What the MLP adds."""
        return self._added(number, "hook_mlp_out", self.layers[number].block.mlp_written(x, attention), row, pos)

    def _added(self, number: int, part: str, written: Tensor, row: int, pos: Tensor) -> Tensor:
        """What a part adds to the residual stream: its site and its norm, in the order that the recording shows."""
        layer = self.layers[number]
        norm = layer.block.norm_after(part)
        if norm is not None and not layer.site_before_norm.get(part, False):
            written = norm(written)
        return self._normed(layer, part, self._splice(number, part, written, row, pos))

    def _normed(self, layer: PlainLayer, part: str, output: Tensor) -> Tensor:
        """What a part's site wrote, as it joins the residual stream."""
        norm = layer.block.norm_after(part)
        return norm(output) if norm is not None and layer.site_before_norm.get(part, False) else output

    def _splice(self, number: int, part: str, x: Tensor, row: int, pos: Tensor) -> Tensor:
        """What a site writes back at some positions of a row, given what arrives there."""
        site = f"blocks.{number}.{part}"
        if self.error_mode == "live" or site not in self.spliced.saes:
            return x
        sae, record = self.spliced.saes[site], self.recording.sites[site]
        encoding = sae.encode(x)
        written = decode_active(sae, encoding.features)
        if encoding.frame is not None:
            written = restore(written, encoding.frame)
        if self.error_mode == "frozen":
            assert record.error is not None
            written = written + record.error[row, pos]
        return torch.where(self.recording.spliced[row, pos][..., None], written.to(x.dtype), x)


def decode_active(sae: SAE, features: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_in"]:
    """D(f) without its frame: only the rows of the decoder whose feature is active are read."""
    flat = features.flatten(0, -2)
    place, index = torch.nonzero(flat, as_tuple=True)
    starts = torch.searchsorted(place, torch.arange(len(flat), device=flat.device))
    summed = torch.nn.functional.embedding_bag(
        index, sae.W_dec, starts, mode="sum", per_sample_weights=flat[place, index]
    )
    return (summed + sae.b_dec).reshape(*features.shape[:-1], sae.d_in)


def needed_logits(
    model: LanguageModel, hidden: Float[Tensor, "run d_model"], columns: Int[Tensor, "run column"] | None
) -> Tensor:
    """Logits of some vocabulary columns of each run, or of all."""
    return model.head(hidden[:, None])[:, 0] if columns is None else model.head_columns(hidden, columns)
