"""Runs that resume inside the model: a site's output is replaced, and only the blocks from there on are executed.

Everything below the site is as in a run recorded earlier, and each block gets the arguments (masks, rotary tables) it
had there. Whether a model's blocks can be called in this way is proved at load (`models/proofs.py`). A model for which
they cannot is run whole, with the same numbers.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from attribution.dictionaries import SAE
from attribution.models.hooks import SiteFunction, constant, hooked, logits_at
from attribution.models.language_model import LanguageModel
from attribution.models.site_names import layer_of
from attribution.splice.gate_rounding import Keep
from attribution.splice.gate_watch import GateWatch
from attribution.splice.recording import ErrorMode, Recording, SiteRecord

TOKENS: Final = "hook_embed"
"""Where token nodes act: what the token embeddings put into the residual stream at block 0."""


Observer = Callable[[str, Float[Tensor, "run pos d_sae"]], None]
"""Receives a site's margins: a gate is open where its margin is positive; −inf where nothing is spliced."""


@runtime_checkable
class Resumable(Protocol):
    """The parts of a `SplicedModel` that resumed runs use."""

    @property
    def model(self) -> LanguageModel: ...

    @property
    def saes(self) -> Mapping[str, SAE]: ...

    @property
    def sites(self) -> tuple[str, ...]: ...

    @property
    def can_resume(self) -> bool: ...

    def holds_whole(
        self, run: Shaped[Tensor, "row pos ..."], blocks: int, encoding: Iterable[str] = (), times: int = 1
    ) -> bool: ...

    def record_site(
        self,
        site: str,
        x: Tensor,
        spliced: Tensor,
        error_mode: ErrorMode,
        error: Tensor | None = None,
        *,
        projected: Tensor | None = None,
        keep: Keep | None = None,
    ) -> SiteRecord: ...


def resume(
    spliced: Resumable,
    recording: Recording,
    rows: Int[Tensor, " run"],
    site: str,
    output: Float[Tensor, "run pos width"],
    error_mode: ErrorMode = "live",
    observe: Observer | None = None,
    watch: GateWatch | None = None,
) -> Float[Tensor, "run *read vocab"]:
    """Logits at the positions read when `output` is written at a site of runs already recorded.

    Run n continues row `rows[n]` of the recording. Later sites are spliced in the given mode; `frozen` uses the
    recorded errors. `site` may be `TOKENS`: `output` is then the residual stream into block 0. `observe` receives the
    margins of every later site that has gates (in `live` mode of none); `watch` flags the runs whose gates come near.
    """
    functions: dict[str, SiteFunction] = {}
    if error_mode != "live":
        later = sites_after(spliced, site)
        functions = {s: _splicer(spliced, s, recording, rows, error_mode, observe, watch) for s in later}
    return run_between(spliced, recording, rows, site, output, functions, None, encoding=functions)


def resume_recorded(
    spliced: Resumable,
    recording: Recording,
    rows: Int[Tensor, " run"],
    site: str,
    output: Float[Tensor, "run pos width"],
    error_mode: ErrorMode = "live",
) -> tuple[Float[Tensor, "run *read vocab"], dict[str, SiteRecord]]:
    """As `resume`; also returns the records of all later sites, by site."""
    seen: dict[str, SiteRecord] = {}
    here = recording.spliced[rows]
    projected = None if recording.projected is None else recording.projected[rows]

    def recorder(later: str) -> SiteFunction:
        error = recording.sites[later].error if error_mode == "frozen" else None
        given = None if error is None else error[rows]
        keep = recording.sites[later].keep(rows)

        def function(x: Tensor) -> Tensor:
            seen[later] = spliced.record_site(later, x, here, error_mode, given, projected=projected, keep=keep)
            return seen[later].output

        return function

    functions = {s: recorder(s) for s in sites_after(spliced, site)}
    logits = run_between(spliced, recording, rows, site, output, functions, None)
    return logits, seen


def sites_after(spliced: Resumable, site: str) -> tuple[str, ...]:
    """The spliced sites that the forward pass reaches after `site`; all of them for `TOKENS`."""
    return spliced.sites if site == TOKENS else spliced.sites[spliced.sites.index(site) + 1 :]


def is_residual(site: str) -> bool:
    """True where the whole residual stream between two blocks passes through the site."""
    return site == TOKENS or site.endswith(("hook_resid_pre", "hook_resid_post"))


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision becomes float32; other dtypes are unchanged."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def with_error(
    x: Float[Tensor, "row pos width"], decoded: Float[Tensor, "row pos width"], error: Float[Tensor, "row pos width"]
) -> Float[Tensor, "row pos width"]:
    """D(f) + e, rounded so that it equals x to the last bit if e = x − D(f). Gradients flow through D(f) only."""
    x = x.detach()
    return x + (error - (x.to(decoded.dtype) - decoded))


def run_between(
    spliced: Resumable,
    recording: Recording,
    rows: Int[Tensor, " run"],
    site: str,
    output: Float[Tensor, "run pos width"],
    functions: Mapping[str, SiteFunction],
    end: str | None,
    *,
    encoding: Collection[str] = (),
) -> Tensor:
    """The activation [run pos width] that arrives at the residual site `end`, or (None) the logits at what is read.

    Logits are in float32 or finer, because effects are small differences of them.

    `output` is written at `site`, which may be `TOKENS`; `functions` act on later sites, and run the encoders of those
    in `encoding`.
    """
    model, read = spliced.model, recording.read[rows]
    held = _held(spliced, recording, rows, site) | dict(functions)
    with model.frozen():
        if not spliced.can_resume:
            return _whole_run(model, recording.ids[rows], read, site, output, held, end)
        block, hidden = _restart(recording, rows, site, output)
        stop = len(recording.block_calls) if end is None else first_block_after(end)
        calls = [call.for_rows(rows) for call in recording.block_calls[block:stop]]
        if not is_residual(site):
            held[site] = constant(output)
        recomputed = output.requires_grad and not spliced.holds_whole(output, len(calls), encoding)
        with hooked(model, held, recomputed=recomputed):
            hidden = model.run_blocks(hidden, block, calls)
        if end is not None:
            return hidden
        logits = at_least_float32(model.head(at_positions(hidden, read)))
        return logits if read.ndim == 2 else logits[:, 0]


def _whole_run(
    model: LanguageModel,
    ids: Tensor,
    read: Tensor,
    site: str,
    output: Tensor,
    functions: Mapping[str, SiteFunction],
    end: str | None,
) -> Tensor:
    arrived: list[Tensor] = []

    def arrive(x: Tensor) -> Tensor:
        arrived.append(x)
        return x

    written = dict(functions)
    if site != TOKENS:
        written[site] = constant(output)
    if end is not None:
        written[end] = arrive
    enter = constant(output) if site == TOKENS else None
    logits = logits_at(model, ids, read, written, enter=enter)
    return at_least_float32(logits) if end is None else arrived[0]


def _restart(
    recording: Recording, rows: Tensor, site: str, output: Tensor
) -> tuple[int, Float[Tensor, "run pos d_model"]]:
    """The first block to execute and its input. Inside a block, that block runs again from its own input."""
    if is_residual(site):
        return first_block_after(site), output
    layer = layer_of(site)
    return layer, recording.block_inputs[layer][rows]


def first_block_after(site: str) -> int:
    """The first block that reads what is written at a site from the residual stream."""
    if site == TOKENS:
        return 0
    return layer_of(site) + (not site.endswith("hook_resid_pre"))


def _held(spliced: Resumable, recording: Recording, rows: Tensor, site: str) -> dict[str, SiteFunction]:
    """For sites before `site` that are executed again: functions that write the recorded output."""
    if site == TOKENS or (spliced.can_resume and is_residual(site)):
        return {}
    before = spliced.sites[: spliced.sites.index(site)]
    again = [s for s in before if not spliced.can_resume or layer_of(s) == layer_of(site)]
    return {s: constant(recording.sites[s].output[rows]) for s in again}


def _splicer(
    spliced: Resumable,
    site: str,
    recording: Recording,
    rows: Tensor,
    error_mode: ErrorMode,
    observe: Observer | None,
    watch: GateWatch | None,
) -> SiteFunction:
    sae, record, here = spliced.saes[site], recording.sites[site], recording.spliced[rows][..., None]
    positions = torch.arange(here.shape[1], device=rows.device)

    def function(x: Tensor) -> Tensor:
        encoding, held = record.followed(rows, sae.encode(x))
        if watch is not None:
            run = watch.run_of(positions.expand(len(rows), -1), here[..., 0])
            encoding = watch.seen(sae, x, encoding, held, run)
        if observe is not None and encoding.margin is not None:
            observe(site, torch.where(here, encoding.margin, -torch.inf))
        written = sae.decode(encoding.features, encoding.frame)
        if error_mode == "frozen":
            assert record.error is not None
            written = with_error(x, written, record.error[rows])
        return torch.where(here, written.to(x.dtype), x)

    return function


def at_positions(
    values: Float[Tensor, "row pos column"], read: Int[Tensor, "row *read"]
) -> Float[Tensor, "row read column"]:
    """The values of each row at one position or several of its own."""
    every = read if read.ndim == 2 else read[:, None]
    return values[torch.arange(len(read), device=read.device)[:, None], every]
