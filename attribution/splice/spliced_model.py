"""Splice sparse autoencoders into a language model.

At a site with activation x the splice writes back y = D(f) + e, with f = E(x):

    live     e = x − D(f), recomputed in this run: y = x until something intervenes
    frozen   e = x − D(f) of the clean run
    zero     e = 0
    path     (1−α) e_clean + α e_patch, used by path methods

Padding is never spliced, and BOS only on request: y = x there.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, cast, final

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from attribution.dictionaries import SAE, Frame
from attribution.models.block_calls import BlockCall
from attribution.models.double_precision import in_float64
from attribution.models.hooks import SiteFunction, constant, logits_at, logits_with
from attribution.models.language_model import LanguageModel
from attribution.models.site_names import layer_of, sites_from, sites_named
from attribution.models.soundness import activation_widths, check_soundness, overwritten_sites
from attribution.splice.edits import ERROR, EVERYWHERE, Touched
from attribution.splice.feeding import common_positions, fed_as_trained
from attribution.splice.gate_rounding import GateRule, Keep, settled
from attribution.splice.graph_bytes import graph_bytes
from attribution.splice.interventions import Intervention, intervened_twice
from attribution.splice.recording import (
    INTERVENED,
    ErrorMode,
    Recording,
    SiteRecord,
    SparseFeatures,
    refuse_other_mode,
)
from attribution.splice.resuming import TOKENS, at_least_float32, with_error
from attribution.splice.writing import Edit, decoded, write_site
from graphs.cautions import Caution
from graphs.short_repr import cut, short_repr

__all__ = ["TOKENS", "ErrorMode", "SplicedModel", "SplicedRun"]


@dataclass(frozen=True)
class SplicedRun:
    """The result of one forward pass with interventions.

    Attributes:
        logits: at every position, or at those that were asked for.
        features, errors: as they were written back. Padding and unspliced positions have no features and error 0. In
            `zero` mode errors are 0 unless set.
        encoded: the features E(x) of what arrived at each site, before the interventions there.
        touched: what the edits of each site changed.
        warnings: nodes that two interventions change.
    """

    __repr__ = short_repr

    logits: Float[Tensor, "row *read vocab"]
    features: Mapping[str, SparseFeatures]
    errors: Mapping[str, Float[Tensor, "row pos width"]]
    encoded: Mapping[str, SparseFeatures]
    touched: Mapping[str, tuple[Touched, ...]]
    warnings: tuple[Caution, ...] = ()


@final
class SplicedModel:
    """A language model with SAEs at some of its sites, one at each. Between runs the model is unchanged.

    An SAE that normalises its input decodes in the frame (scale and mean) of the same run. A patched feature or error
    keeps the clean run's frame, because the effect of a changed frame belongs to no node.

    Args:
        model: the language model.
        saes: SAEs, each at its own `site`; or a mapping from site to SAE.
        splice_bos: splice the BOS position too. By default it is not, since SAEs are usually not trained on BOS.
        dtype: the dtype that the SAEs compute in, independent of the model's.

    Raises:
        LookupError: a site the model does not have (near matches are listed).
        ValueError: two SAEs on one site, an SAE that does not fit, or a site where a write does not do what its
            gradient says (see `soundness.py`); SAEs that were trained on different positions, or on a model whose
            stream was centred where this one's cannot be.
    """

    def __init__(
        self,
        model: LanguageModel,
        saes: Mapping[str, SAE] | Iterable[SAE],
        *,
        splice_bos: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        named = _named(saes)
        if not named:
            raise ValueError("No SAEs given: there is nothing to splice in.")
        self.model = model
        self.splice_bos = splice_bos
        found: dict[str, SAE] = {}
        for name, sae in named:
            try:
                site = model.resolve(name)
            except LookupError as error:
                raise LookupError(f"{error.args[0]} It is the site of an SAE{_from(sae)}.") from error
            layer_of(site)
            model.refuse_unsound(site)
            if site in found:
                raise ValueError(f"Two SAEs for one site: {name!r} is the same activation as {site!r}.")
            found[site] = sae.to(device=model.device, dtype=dtype)
        _refuse_one_activation_twice(found)
        model.hear_of_bos({site: sae.prepend_bos for site, sae in found.items()})
        probe, ids = partial(logits_with, model), model.probe_ids()
        widths = activation_widths(tuple(found), ids, probe)
        for site, width in widths.items():
            if width != found[site].d_in:
                raise ValueError(
                    f"The SAE for {site!r}{_from(found[site])} has d_in = {found[site].d_in}, but the activation "
                    f"there is {width} wide."
                )
        self.saes: dict[str, SAE] = fed_as_trained(model, {site: found[site] for site in widths})
        self._positions = common_positions(self.saes)
        self.boundary: int | None = None
        """The layer below which everything is kept as it is, though there are SAEs (`from_layer`)."""
        self._whole: SplicedModel | None = None
        self.graph_limit: int | None = None
        """Bytes that a run's gradient graph may hold whole; None for any number (`within`)."""
        self.keeps_projections: bool = True
        """Whether recordings keep the projections that secants need, or encoders run once more for them."""
        self.gate_rule: GateRule = GateRule()
        """Which gates of a recorded run stand at their threshold, and how they fall."""
        model.overwritten |= overwritten_sites(self.sites, ids, probe)
        with model.frozen():
            check_soundness(self.sites, ids, probe)
        self.can_resume: bool = model.proof.resumes
        if not self.can_resume:
            warnings.warn(
                f"{model.name} cannot be run from a layer: every patched run starts at the tokens. "
                "The numbers are the same; exact patching takes longer.",
                stacklevel=2,
            )

    def __repr__(self) -> str:
        first, *more = self.sites
        at = f"{first} to {more[-1]}" if more else first
        boundary = "" if self.boundary is None else f", from layer {self.boundary}"
        return cut(f"SplicedModel({self.model.name!r} with {len(self.saes)} SAEs at {at}{boundary})")

    @property
    def sites(self) -> tuple[str, ...]:
        """Spliced sites in the order the forward pass reaches them."""
        return tuple(self.saes)

    @property
    def unspliced_bos(self) -> int | None:
        """The BOS token, which is not spliced where it opens a prompt; None if it is."""
        return None if self.splice_bos else self.model.bos_id

    @property
    def whole(self) -> "SplicedModel":
        """The splice with the layers below the boundary; itself without one."""
        return self._whole or self

    def at_sites(self, *names: str) -> "SplicedModel":
        """The same model with SAEs at some of its sites only; the others run as they are.

        Args:
            names: sites, kinds (`resid_post`, `mlp_out`, `attn.z`), or globs of either (`blocks.[23].*`, `*_out`).

        Raises:
            LookupError: a name that no spliced site has; the message lists them.
        """
        part = self._with(sites_named(tuple(map(self.model.canonical, names)), self.sites))
        part._whole = None if self._whole is None else self._whole.at_sites(*names)
        return part

    def from_layer(self, layer: int) -> "SplicedModel":
        """The same model with SAEs at `layer` and above; `boundary` and `whole` remember what lies below.

        A splice with every node kept changes nothing. So this is the splice in which all nodes below are always kept,
        and m(C) here is m(C and all nodes below) in `whole`, while m(∅) leaves the layers below as they are.

        Raises:
            ValueError: no site lies so far up, or none below; the message names the layers.
        """
        part = self._with(sites_from(layer, self.sites))
        part.boundary, part._whole = layer, self.whole
        return part

    @contextmanager
    def in_float64(self, rule: GateRule) -> Iterator["SplicedModel"]:
        """The same model and SAEs computing in float64, their weights promoted exactly; of use inside the `with` only.

        Args:
            rule: which gates of a recorded run stand at their threshold there, and how they fall.

        Raises:
            ValueError: the model's device has no float64.
        """
        part, whole = self.with_gates(rule), self._whole
        with in_float64(self.model):
            part.saes = {site: sae.to(dtype=torch.float64) for site, sae in self.saes.items()}
            if whole is not None:
                part._whole = copy(whole)
                part._whole.saes = {s: part.saes.get(s) or sae.to(dtype=torch.float64) for s, sae in whole.saes.items()}
            yield part

    def within(self, graph_limit: int, *, keeps_projections: bool = True) -> "SplicedModel":
        """The same with gradient graphs of more bytes held block by block (`graph_bytes.py`)."""
        part = copy(self)
        part.graph_limit, part.keeps_projections = graph_limit, keeps_projections
        return part

    def holds_whole(
        self, run: Shaped[Tensor, "row pos ..."], blocks: int, encoding: Iterable[str] = (), times: int = 1
    ) -> bool:
        """Whether the graph of a run through so many blocks is held whole.

        Args:
            run: a tensor with its rows and positions.
            encoding: the sites whose encoders are in the graph.
            times: how many such graphs the limit is for.
        """
        if self.graph_limit is None or not self.can_resume:
            return True
        one = graph_bytes(self.model, self.saes, run.shape[1], blocks, encoding)
        return times * len(run) * one.whole <= self.graph_limit

    def with_gates(self, rule: GateRule) -> "SplicedModel":
        """The same with another rule for gates at their threshold in a recorded run."""
        part = copy(self)
        part.gate_rule = rule
        return part

    @property
    def dtype(self) -> torch.dtype:
        """The coarser of the dtypes that model and SAEs compute in."""
        of = {self.model.dtype, *(sae.W_enc.dtype for sae in self.saes.values())}
        return min(of, key=lambda dtype: -torch.finfo(dtype).eps)

    def _with(self, sites: Sequence[str]) -> "SplicedModel":
        part = copy(self)
        part.saes = {site: self.saes[site] for site in sites}
        return part

    def hashes(self) -> dict[str, Any]:
        """sha256 of the model's weights under `model`, and of each SAE's under `saes`, by site."""
        return {"model": self.model.digest(), "saes": {site: sae.digest() for site, sae in self.saes.items()}}

    def site(self, name: str) -> str:
        """The canonical name of a spliced site.

        Raises:
            LookupError: no SAE is spliced in there.
        """
        try:
            canonical = self.model.resolve(name)
        except LookupError as error:
            raise LookupError(f"{error} Spliced sites: {', '.join(self.sites)}.") from error
        if canonical not in self.saes:
            raise LookupError(f"No SAE is spliced in at {name!r}. Spliced sites: {', '.join(self.sites)}.")
        return canonical

    def spliced_positions(self, ids: Int[Tensor, "row pos"], last: Int[Tensor, " row"]) -> Bool[Tensor, "row pos"]:
        """True where SAEs are part of the computation: at positions of the kind they were trained on.

        Never at padding; at an opening BOS only with `splice_bos`.
        """
        spliced = torch.arange(ids.shape[1], device=ids.device) <= last[:, None]
        if not self.splice_bos and self.model.bos_id is not None:
            spliced[:, 0] &= ids[:, 0] != self.model.bos_id
        return spliced & self._positions.mask(ids.shape[1], ids.device)

    def record(
        self,
        ids: Int[Tensor, "row pos"],
        last: Int[Tensor, " row"],
        error_mode: ErrorMode = "live",
        *,
        read: Int[Tensor, "row *read"] | None = None,
        with_gradients: bool = False,
        entry: Float[Tensor, "row pos d_model"] | None = None,
        errors: Mapping[str, Float[Tensor, "row pos width"]] | None = None,
        projected: Bool[Tensor, "row pos"] | None = None,
        kept: Mapping[str, Keep] | None = None,
        settle: bool | None = None,
    ) -> Recording:
        """One forward pass without interventions that records every site.

        Args:
            last: each row's last real position.
            read: the positions at which logits are computed; by default `last`.
            error_mode: in `frozen` mode the run is its own clean run, so its logits are the bare model's, but gradients
                pass through the encoders.
            with_gradients: make `entry` and the outputs of sites leaves that gradients can be taken with respect to.
            entry: the residual stream into block 0, for path methods.
            errors: every site's error, in `path` mode only.
            projected: positions at which to keep the projections on the encoders' directions, where spliced.
            kept: by site, the gates at their threshold of the run that this one departs from (`SiteRecord.keep`).
            settle: decide gates at their threshold by the rule of `gate_rounding.py`. By default in `frozen` and `zero`
                mode, where SAEs are part of the computation.
        """
        refuse_other_mode(error_mode)
        if (error_mode == "path") != (errors is not None):
            raise ValueError("Errors are given in `path` mode and in no other.")
        settle = error_mode in ("frozen", "zero") if settle is None else settle
        read = last if read is None else read
        spliced = self.spliced_positions(ids, last)
        here = None if projected is None else projected & spliced
        sites: dict[str, SiteRecord] = {}
        entered: list[Tensor] = []
        blocks: list[tuple[Tensor, BlockCall]] = []

        def enter(x: Tensor) -> Tensor:
            start = x if entry is None else entry
            entered.append(_differentiable(start) if with_gradients else start)
            return entered[0]

        def recorder(site: str) -> SiteFunction:
            def function(x: Tensor) -> Tensor:
                if site in sites and error_mode == "live":  # in a backward that executes the block again
                    return x
                given = None if errors is None else errors[site]
                record = self.record_site(
                    site,
                    x,
                    spliced,
                    error_mode,
                    given,
                    with_gradients=with_gradients,
                    projected=here,
                    keep=None if kept is None else kept[site],
                    settle=settle,
                )
                sites.setdefault(site, record)
                return record.output

            return function

        functions = {site: recorder(site) for site in self.sites}
        encoding = () if error_mode == "live" else self.sites
        recomputed = with_gradients and not self.holds_whole(ids, self.model.n_layers, encoding)
        with torch.set_grad_enabled(with_gradients), self.model.frozen():
            logits = logits_at(self.model, ids, read, functions, enter=enter, blocks=blocks, recomputed=recomputed)
        return Recording(
            ids=ids,
            last=last,
            spliced=spliced,
            logits=at_least_float32(logits),
            read=read,
            entry=entered[0],
            sites=sites,
            block_inputs=tuple(hidden.detach() for hidden, _ in blocks),
            block_calls=tuple(call for _, call in blocks),
            projected=here,
        )

    def record_site(
        self,
        site: str,
        x: Float[Tensor, "row pos width"],
        spliced: Bool[Tensor, "row pos"],
        error_mode: ErrorMode,
        error: Float[Tensor, "row pos width"] | None = None,
        *,
        with_gradients: bool = False,
        projected: Bool[Tensor, "row pos"] | None = None,
        keep: Keep | None = None,
        settle: bool = False,
    ) -> SiteRecord:
        """Record one site: encode x, decode, and add the error.

        Args:
            error: used in place of x − D(f).
            projected: positions at which to keep the projections on the encoder's directions.
            keep: the gates at their threshold of the run that this one departs from.
            settle: without `keep`: decide gates at their threshold by the rule, and record which they are.
        """
        refuse_other_mode(error_mode)
        with torch.set_grad_enabled(with_gradients and error_mode != "live"):
            encoding, at_threshold = self.saes[site].encode(x, projection_only=True), None
            if keep is not None:
                encoding = keep(encoding)
            elif settle:
                encoding, at_threshold = settled(self.saes[site], x, encoding, spliced, self.gate_rule)
            dense = encoding.features
            features = SparseFeatures.of(dense, spliced)
            reconstruction = decoded(self.saes[site], dense, features, encoding.frame, encoding.projection)
            if error is None and error_mode != "zero":
                error = torch.where(spliced[..., None], x.to(reconstruction.dtype) - reconstruction, 0)
            output = x
            if error_mode != "live":
                written = reconstruction if error is None else with_error(x, reconstruction, error.detach())
                output = torch.where(spliced[..., None], written.to(x.dtype), x)
        frame = encoding.frame
        return SiteRecord(
            arrival=x if with_gradients else x.detach(),
            output=_differentiable(output) if with_gradients else output,
            features=features,
            error=None if error_mode == "zero" or error is None else error.detach(),
            frame=None if frame is None else Frame(frame.scale.detach(), frame.mean.detach()),
            projections=None if projected is None else encoding.projection.detach()[projected],
            at_threshold=at_threshold,
        )

    def run(
        self,
        ids: Int[Tensor, "row pos"],
        interventions: Sequence[Edit] = (),
        *,
        last: Int[Tensor, " row"] | None = None,
        error_mode: ErrorMode = "live",
        entry: Float[Tensor, "row pos d_model"] | None = None,
        read: Int[Tensor, "row *read"] | None = None,
    ) -> SplicedRun:
        """One forward pass with interventions on features and errors, applied in the order given.

        Args:
            ids: token ids, padded on the right where `last` (each row's last real position) says so.
            interventions: `Intervention`s, of which one that would change nothing is an error, and edits.
            error_mode: `live`, `zero`, or `frozen` with the errors of the run without interventions.
            entry: replaces the residual stream into block 0, where tokens act.
            read: compute logits at these positions only. Without interventions they equal the logits of a recording to
                the last bit.
        """
        refuse_other_mode(error_mode, INTERVENED)
        ids = ids.to(self.model.device)
        last = torch.full_like(ids[:, 0], ids.shape[1] - 1) if last is None else last.to(ids.device)
        spliced = self.spliced_positions(ids, last)
        by_site: dict[str, list[Edit]] = {site: [] for site in self.sites}
        for edit in interventions:
            by_site[self._checked(edit, spliced, last)].append(edit)
        frozen = self.record(ids, last, settle=True) if error_mode == "frozen" else None
        clean = frozen
        if error_mode == "zero" and (interventions or entry is not None):
            clean = self.record(ids, last, "zero")
        rows = torch.arange(len(ids), device=ids.device)
        encoded: dict[str, SparseFeatures] = {}
        features: dict[str, SparseFeatures] = {}
        errors: dict[str, Tensor] = {}
        touched: dict[str, tuple[Touched, ...]] = {}

        def writer(site: str) -> SiteFunction:
            error = None if frozen is None else frozen.sites[site].error
            keep = None if clean is None else clean.sites[site].keep(rows)

            def function(x: Tensor) -> Tensor:
                written = write_site(self.saes[site], x, spliced, by_site[site], error_mode, error, keep)
                encoded[site], features[site] = map(SparseFeatures.of, (written.encoded, written.features))
                errors[site], touched[site] = written.error, written.touched
                return written.output

            return function

        enter = None if entry is None else constant(entry)
        with torch.no_grad(), self.model.frozen():
            functions = {site: writer(site) for site in self.sites}
            if read is None:
                logits = logits_with(self.model, ids, functions, enter=enter)
            else:
                logits = logits_at(self.model, ids, read, functions, enter=enter)
        twice = tuple(c for edits in by_site.values() for c in intervened_twice(edits, *ids.shape))
        return SplicedRun(logits, features, errors, encoded, touched, twice)

    def _checked(self, edit: Edit, spliced: Bool[Tensor, "row pos"], last: Int[Tensor, " row"]) -> str:
        """The site of an edit, after all checks that need no forward pass."""
        site = self.site(edit.site)
        d_sae, width = self.saes[site].d_sae, spliced.shape[1]
        largest, smallest, positions = _extent(edit)
        if largest >= d_sae or smallest < 0:
            raise ValueError(f"Cannot {edit}: the SAE there has features 0 to {d_sae - 1}.")
        for position in positions:
            if not -width <= position < width:
                raise ValueError(f"Cannot {edit}: positions run from 0 to {width - 1}, or from -{width} to -1.")
            if position < 0 and bool((last != width - 1).any()):
                raise ValueError(
                    f"Cannot {edit}: the prompts are of unequal length, so {position} is none of their own."
                )
            if not spliced[:, position].any():
                raise ValueError(
                    f"Cannot {edit}: position {position} is not spliced (BOS is spliced only with "
                    "splice_bos=True, padding never)."
                )
        if len({position % width for position in positions}) < len(positions):
            raise ValueError(f"Cannot {edit}: two of these are the same position of {width}. Name it once.")
        return site

    def logits_with_outputs(
        self,
        ids: Int[Tensor, "row pos"],
        read: Int[Tensor, "row *read"],
        outputs: Mapping[str, Float[Tensor, "row pos width"]],
    ) -> Float[Tensor, "row *read vocab"]:
        """Logits of one forward pass in which the given sites write the given outputs, whatever reaches them."""
        functions = {self.site(s): constant(y) for s, y in outputs.items()}
        with self.model.frozen():
            return at_least_float32(logits_at(self.model, ids, read, functions))


def _extent(edit: Edit) -> tuple[int, int, tuple[int, ...]]:
    """Largest and smallest feature index, and the positions, that an edit names."""
    if isinstance(edit, Intervention):
        index = edit.index or 0
        return index, index, edit.positions or ()
    index, pos = edit.nodes.index, edit.nodes.pos
    indices = index[index != ERROR].tolist() or [0]
    return max(indices), min(indices), tuple(pos[pos != EVERYWHERE].unique().tolist())


def _refuse_one_activation_twice(sites: Iterable[str]) -> None:
    """What a block writes last is what the next one reads first: two names of one activation."""
    for site in sites:
        if site.endswith("hook_resid_pre") and layer_of(site) > 0:
            same = f"blocks.{layer_of(site) - 1}.hook_resid_post"
            if same in sites:
                raise ValueError(
                    f"{same} and {site} are the same activation: its features would count twice. Give one of the SAEs."
                )


def _named(saes: Mapping[str, SAE] | Iterable[SAE]) -> list[tuple[str, SAE]]:
    if isinstance(saes, Mapping):
        return list(cast(Mapping[str, SAE], saes).items())
    return [(sae.site, sae) for sae in saes]


def _from(sae: SAE) -> str:
    return f" from {sae.source}" if sae.source else ""


def _differentiable(x: Tensor) -> Tensor:
    return x if x.requires_grad else x.detach().requires_grad_()
