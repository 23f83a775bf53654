"""Splice sparse autoencoders into a language model: the only file that installs hooks.

At a site with activation x the splice writes back y = D(f) + e, with f = E(x):

    live     e = x − D(f), recomputed in this very run: y = x until something intervenes
    frozen   e = x − D(f) of the clean run
    zero     e = 0
    path     (1−α) e_clean + α e_patch, used by path methods

Positions that are padding, and BOS unless asked for, are left alone: y = x there.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, cast, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from attribution.intervention import Intervention
from attribution.language_model import ENTRY, BlockCall, LanguageModel, layer_of
from attribution.recording import Recording, SiteRecord, SparseFeatures
from attribution.saes import SAE, Frame
from attribution.soundness import activation_widths, check_soundness

ErrorMode = Literal["live", "frozen", "zero", "path"]
SiteFunction = Callable[[Float[Tensor, "row pos width"]], Float[Tensor, "row pos width"]]

TOKENS: Final = "hook_embed"
"""Where token nodes act: what the token embeddings put into the residual stream at block 0."""


@contextmanager
def hooked(
    model: LanguageModel,
    functions: Mapping[str, SiteFunction],
    *,
    enter: SiteFunction | None = None,
    blocks: list[tuple[Tensor, BlockCall]] | None = None,
) -> Iterator[None]:
    """Inside, each site's activation is replaced by its function's value; afterwards nothing is left behind.

    Functions see activations flattened to [row, pos, width]. `enter` acts on the residual stream into block 0,
    before a splice there. `blocks` collects what every block is called with.
    """
    handles: list[Any] = []
    try:
        if enter is not None:
            handles.append(_on_output(model.hook_point(ENTRY), enter))
        for site, function in functions.items():
            handles.append(_on_output(model.hook_point(site), function))
        if blocks is not None:
            recorder = _block_recorder(blocks)
            handles += [b.register_forward_pre_hook(recorder, with_kwargs=True) for b in model.module.blocks]
        yield
    finally:
        for handle in handles:
            handle.remove()


def _on_output(point: nn.Module, function: SiteFunction) -> Any:
    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        if output.ndim == 3:
            return function(output)
        return function(output.flatten(2)).reshape(output.shape)

    return point.register_forward_hook(hook)


def _block_recorder(blocks: list[tuple[Tensor, BlockCall]]) -> Callable[..., None]:
    def hook(_module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if arguments:
            blocks.append((arguments[0], BlockCall(arguments[1:], keywords)))
        else:
            rest = {k: v for k, v in keywords.items() if k != "hidden_states"}
            blocks.append((keywords["hidden_states"], BlockCall((), rest)))

    return hook


@dataclass(frozen=True)
class SplicedRun:
    """One forward with interventions: logits at every position; features and errors as they were written back.

    Padding and unspliced positions have no features and error 0. In `zero` mode errors are 0 unless set.
    """

    logits: Float[Tensor, "row pos vocab"]
    features: Mapping[str, SparseFeatures]
    errors: Mapping[str, Float[Tensor, "row pos width"]]


@final
class SplicedModel:
    """A language model with one SAE at each of some sites. The model itself is untouched between runs.

    SAEs that normalise their input decode relative to the normalisation of the same run (its frame). A patched
    feature or error keeps the clean run's frame: what a changed frame itself does belongs to no node.

    Args:
        model: the language model.
        saes: SAEs, each at its own `site`; or a mapping from site to SAE.
        splice_bos: splice the BOS position too. SAEs are commonly not trained on it, so the default leaves it.
        dtype: what the SAEs compute in, whatever the model's own.

    Raises:
        LookupError: a site the model does not have (near matches are listed).
        ValueError: two SAEs on one site, an SAE that does not fit, or a site where a write does not do what its
            gradient says (see `soundness.py`).
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
        with model.frozen():
            widths = activation_widths(tuple(found), self._probe_ids(), self._logits_with)
        for site, width in widths.items():
            if width != found[site].d_in:
                raise ValueError(
                    f"The SAE for {site!r}{_from(found[site])} has d_in = {found[site].d_in}, but the activation "
                    f"there is {width} wide."
                )
        self.saes: dict[str, SAE] = {site: found[site] for site in widths}
        with model.frozen():
            check_soundness(self.sites, self._probe_ids(), self._logits_with)
            self.can_resume: bool = self._resuming_equals_the_whole_run()
        if not self.can_resume:
            warnings.warn(
                f"{model.name} cannot be run from a layer: every patched run starts at the tokens. "
                "The numbers are the same; exact patching takes longer.",
                stacklevel=2,
            )

    @property
    def sites(self) -> tuple[str, ...]:
        """Spliced sites in the order the forward pass reaches them."""
        return tuple(self.saes)

    def site(self, name: str) -> str:
        """The canonical name of a spliced site; one where no SAE is spliced in is an error."""
        try:
            canonical = self.model.resolve(name)
        except LookupError as error:
            raise LookupError(f"{error} Spliced sites: {', '.join(self.sites)}.") from error
        if canonical not in self.saes:
            raise LookupError(f"No SAE is spliced in at {name!r}. Spliced sites: {', '.join(self.sites)}.")
        return canonical

    def spliced_positions(self, ids: Int[Tensor, "row pos"], last: Int[Tensor, " row"]) -> Bool[Tensor, "row pos"]:
        """True where the SAEs are in the computation: no padding, and no opening BOS unless asked for."""
        spliced = torch.arange(ids.shape[1], device=ids.device) <= last[:, None]
        if not self.splice_bos and self.model.bos_id is not None:
            spliced[:, 0] &= ids[:, 0] != self.model.bos_id
        return spliced

    def record(
        self,
        ids: Int[Tensor, "row pos"],
        last: Int[Tensor, " row"],
        error_mode: ErrorMode = "live",
        *,
        with_gradients: bool = False,
        entry: Float[Tensor, "row pos d_model"] | None = None,
        errors: Mapping[str, Float[Tensor, "row pos width"]] | None = None,
    ) -> Recording:
        """One forward without interventions, remembering every site. `last` is each row's last real position.

        In `frozen` mode the run is its own clean run: logits are the bare model's, and gradients meet the
        encoders. With gradients, the recorded `entry` and outputs can be differentiated with respect to.
        Path methods give the residual stream into block 0 (`entry`) and, in `path` mode, the `errors`.
        """
        if (error_mode == "path") != (errors is not None):
            raise ValueError("Errors are given in `path` mode and in no other.")
        spliced = self.spliced_positions(ids, last)
        sites: dict[str, SiteRecord] = {}
        entered: list[Tensor] = []
        blocks: list[tuple[Tensor, BlockCall]] = []

        def enter(x: Tensor) -> Tensor:
            start = x if entry is None else entry
            entered.append(_differentiable(start) if with_gradients else start)
            return entered[0]

        def recorder(site: str) -> SiteFunction:
            def function(x: Tensor) -> Tensor:
                given = None if errors is None else errors[site]
                sites[site] = self._site_record(site, x, spliced, error_mode, given, with_gradients)
                return sites[site].output

            return function

        functions = {site: recorder(site) for site in self.sites}
        with torch.set_grad_enabled(with_gradients), self.model.frozen():
            logits = self._logits_with(ids, functions, enter=enter, blocks=blocks)
        return Recording(
            ids=ids,
            last=last,
            spliced=spliced,
            logits=last_logits(logits, last),
            entry=entered[0],
            sites=sites,
            block_inputs=tuple(hidden.detach() for hidden, _ in blocks),
            block_calls=tuple(call for _, call in blocks),
        )

    def _site_record(
        self,
        site: str,
        x: Tensor,
        spliced: Tensor,
        error_mode: ErrorMode,
        given_error: Tensor | None,
        with_gradients: bool,
    ) -> SiteRecord:
        with torch.set_grad_enabled(with_gradients and error_mode != "live"):
            frame, features, error = self._parts(site, x, spliced, error_mode, given_error)
            if error_mode == "live":
                output = x
            else:
                written = self.saes[site].decode(features, frame)
                if error_mode != "zero":
                    written = _with_error(x, written, error.detach())
                output = torch.where(spliced[..., None], written.to(x.dtype), x)
        return SiteRecord(
            output=_differentiable(output) if with_gradients else output,
            features=SparseFeatures.of(features.detach()),
            error=None if error_mode == "zero" else error.detach(),
            frame=None if frame is None else Frame(frame.scale.detach(), frame.mean.detach()),
        )

    def run(
        self,
        ids: Int[Tensor, "row pos"],
        interventions: Sequence[Intervention] = (),
        *,
        last: Int[Tensor, " row"] | None = None,
        error_mode: ErrorMode = "live",
    ) -> SplicedRun:
        """One forward with interventions on features and errors, applied in the order given.

        Args:
            ids: token ids, padded on the right where `last` (each row's last real position) says so.
            interventions: see `intervention.py`. One that would change nothing is an error.
            error_mode: `live`, `zero`, or `frozen` with the errors of the run without interventions.
        """
        if error_mode == "path":
            raise ValueError("Error mode 'path' belongs to path methods. Choose live, frozen or zero.")
        ids = ids.to(self.model.device)
        last = torch.full_like(ids[:, 0], ids.shape[1] - 1) if last is None else last.to(ids.device)
        spliced = self.spliced_positions(ids, last)
        by_site: dict[str, list[Intervention]] = {site: [] for site in self.sites}
        for intervention in interventions:
            by_site[self._checked(intervention, spliced)].append(intervention)
        frozen = self.record(ids, last) if error_mode == "frozen" else None
        features: dict[str, SparseFeatures] = {}
        errors: dict[str, Tensor] = {}

        def intervener(site: str) -> SiteFunction:
            def function(x: Tensor) -> Tensor:
                given = None if frozen is None else frozen.sites[site].error
                before, f, e = self._parts(site, x, spliced, error_mode, given)
                new_f, new_e = f, e
                for intervention in by_site[site]:
                    new_f, new_e = intervention.applied(new_f, new_e, spliced)
                features[site], errors[site] = SparseFeatures.of(new_f), new_e
                if error_mode == "live" and not by_site[site]:
                    return x
                written = self.saes[site].decode(new_f, before)
                if error_mode == "live":
                    written = x + ((written + new_e) - (self.saes[site].decode(f, before) + e))
                elif error_mode == "zero":
                    written = written + new_e
                else:
                    written = _with_error(x, written, new_e)
                return torch.where(spliced[..., None], written.to(x.dtype), x)

            return function

        with torch.no_grad(), self.model.frozen():
            logits = self._logits_with(ids, {site: intervener(site) for site in self.sites})
        return SplicedRun(logits, features, errors)

    def resume(
        self,
        recording: Recording,
        rows: Int[Tensor, " run"],
        site: str,
        output: Float[Tensor, "run pos width"],
        error_mode: ErrorMode = "live",
    ) -> Float[Tensor, "run vocab"]:
        """Logits at the last position when `output` is written at a site of runs already recorded.

        Run n continues row `rows[n]` of the recording. Only blocks from the written site on are executed.
        Later sites are spliced in the given mode, `frozen` with the recorded run's errors. `site` may be
        `TOKENS`: `output` is then the residual stream into block 0.
        """
        functions: dict[str, SiteFunction] = {}
        if error_mode != "live":
            here = -1 if site == TOKENS else self.sites.index(site)
            functions |= {s: _constant(recording.sites[s].output[rows]) for s in self.sites[: max(here, 0)]}
            functions |= {s: self._splicer(s, recording, rows, error_mode) for s in self.sites[here + 1 :]}
        enter = _constant(output) if site == TOKENS else None
        if site != TOKENS:
            functions[site] = _constant(output)
        last = recording.last[rows]
        with self.model.frozen():
            if not self.can_resume:
                return last_logits(self._logits_with(recording.ids[rows], functions, enter=enter), last)
            block, hidden = self._restart(recording, rows, site, output)
            calls = [call.for_rows(rows) for call in recording.block_calls[block:]]
            with hooked(self.model, functions, enter=enter):
                hidden = self.model.run_blocks(hidden, block, calls)
            return last_logits(self.model.head(at_last(hidden, last)), torch.zeros_like(last))

    def _restart(
        self, recording: Recording, rows: Tensor, site: str, output: Tensor
    ) -> tuple[int, Float[Tensor, "run pos d_model"]]:
        """The first block to execute and its input. Inside a block, that block runs again from its own input."""
        if site == TOKENS:
            return 0, output
        layer = layer_of(site)
        if site.endswith("hook_resid_post"):
            return layer + 1, output
        if site.endswith("hook_resid_pre"):
            return layer, output
        return layer, recording.block_inputs[layer][rows]

    def _splicer(self, site: str, recording: Recording, rows: Tensor, error_mode: ErrorMode) -> SiteFunction:
        sae, record, spliced = self.saes[site], recording.sites[site], recording.spliced[rows][..., None]

        def function(x: Tensor) -> Tensor:
            encoding = sae.encode(x)
            written = sae.decode(encoding.features, encoding.frame)
            if error_mode == "frozen":
                assert record.error is not None
                written = _with_error(x, written, record.error[rows])
            return torch.where(spliced, written.to(x.dtype), x)

        return function

    def _parts(
        self, site: str, x: Tensor, spliced: Tensor, error_mode: ErrorMode, given_error: Tensor | None
    ) -> tuple[Frame | None, Float[Tensor, "row pos d_sae"], Float[Tensor, "row pos width"]]:
        """Frame, features and error of an activation; features and error are 0 where nothing is spliced."""
        sae, here = self.saes[site], spliced[..., None]
        encoding = sae.encode(x)
        features = torch.where(here, encoding.features, 0)
        if given_error is not None:
            return encoding.frame, features, given_error
        error = x.to(features.dtype) - sae.decode(features, encoding.frame)
        return encoding.frame, features, torch.where(here & (error_mode != "zero"), error, 0)

    def _checked(self, intervention: Intervention, spliced: Bool[Tensor, "row pos"]) -> str:
        """The site of an intervention that can do something; all that can be known before the forward."""
        site = self.site(intervention.site)
        d_sae = self.saes[site].d_sae
        if intervention.index is not None and not 0 <= intervention.index < d_sae:
            raise ValueError(f"Cannot {intervention}: the SAE there has features 0 to {d_sae - 1}.")
        width = spliced.shape[1]
        for position in intervention.positions or ():
            if not 0 <= position < width:
                raise ValueError(f"Cannot {intervention}: positions run from 0 to {width - 1}.")
            if not spliced[:, position].any():
                raise ValueError(
                    f"Cannot {intervention}: position {position} is not spliced (BOS is spliced only with "
                    "splice_bos=True, padding never)."
                )
        return site

    def logits_with_outputs(
        self, ids: Int[Tensor, "row pos"], outputs: Mapping[str, Float[Tensor, "row pos width"]]
    ) -> Float[Tensor, "row pos vocab"]:
        """One forward in which the given sites write the given outputs, whatever reaches them."""
        with self.model.frozen():
            return self._logits_with(ids, {self.site(s): _constant(y) for s, y in outputs.items()})

    def _logits_with(
        self,
        ids: Tensor,
        functions: Mapping[str, SiteFunction],
        *,
        enter: SiteFunction | None = None,
        blocks: list[tuple[Tensor, BlockCall]] | None = None,
    ) -> Tensor:
        with hooked(self.model, functions, enter=enter, blocks=blocks):
            return self.model.logits(ids)

    # --- probes at load -------------------------------------------------------------------------------------

    def _probe_ids(self) -> Int[Tensor, "row pos"]:
        ids = torch.arange(3, 8, device=self.model.device)[None] % self.model.d_vocab
        if self.model.bos_id is not None:
            ids[:, 0] = self.model.bos_id
        return ids

    def _resuming_equals_the_whole_run(self) -> bool:
        ids = self._probe_ids()
        last = torch.tensor([ids.shape[1] - 1], device=ids.device)
        self.can_resume = True
        with torch.no_grad():
            recording = self.record(ids, last)
            try:
                resumed = self.resume(recording, last * 0, TOKENS, recording.entry)
            except (TypeError, AttributeError, RuntimeError):
                return False
        scale = recording.logits.abs().max()
        return bool((resumed - recording.logits).abs().max() <= 1e-4 * scale)


def at_last(values: Float[Tensor, "row pos column"], last: Int[Tensor, " row"]) -> Float[Tensor, "row 1 column"]:
    """Each row's values at its last real position."""
    return values[torch.arange(len(last), device=last.device), last][:, None]


def last_logits(logits: Float[Tensor, "row pos vocab"], last: Int[Tensor, " row"]) -> Float[Tensor, "row vocab"]:
    """Logits at the last real position, in float32 at least: effects are small differences of them."""
    chosen = at_last(logits, last)[:, 0]
    return chosen.float() if chosen.dtype in (torch.float16, torch.bfloat16) else chosen


def _named(saes: Mapping[str, SAE] | Iterable[SAE]) -> list[tuple[str, SAE]]:
    if isinstance(saes, Mapping):
        return list(cast(Mapping[str, SAE], saes).items())
    return [(sae.site, sae) for sae in saes]


def _from(sae: SAE) -> str:
    return f" from {sae.source}" if sae.source else ""


def _with_error(x: Tensor, decoded: Tensor, error: Tensor) -> Tensor:
    """D(f) + e, written so that it is x to the last bit where e is x − D(f). Gradients flow through D(f) only."""
    x = x.detach()
    return x + (error - (x.to(decoded.dtype) - decoded))


def _constant(output: Tensor) -> SiteFunction:
    return lambda _: output


def _differentiable(x: Tensor) -> Tensor:
    return x if x.requires_grad else x.detach().requires_grad_()
