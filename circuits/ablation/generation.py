"""Generate text while nodes are changed at every step.

    step n: ids after those already seen  ->  logits of the next token  ->  the token

With the KV cache, a step runs the latest position only, and the edits act there if they act everywhere or name that
position. What earlier steps wrote is in the cached keys and values, so the logits equal those of a whole run with the
same edits on the same tokens. Frozen errors are those of a run without edits on the same tokens; it has a cache of its
own.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.effects.measurement import Situation
from attribution.models.hooks import SiteFunction, logits_with
from attribution.models.language_model import LanguageModel
from attribution.runs.progress import Progress, silent
from attribution.splice.edits import KeepOnly, NodeEdit, Touched
from attribution.splice.recording import INTERVENED, ErrorMode, refuse_other_mode
from attribution.splice.spliced_model import SplicedModel
from attribution.splice.writing import Parts, write_site
from circuits.ablation.edits import Ablation, constant_edits
from graphs.short_repr import short_repr

ChooseToken = Callable[[Float[Tensor, "row vocab"]], Int[Tensor, " row"]]
"""The next token of each row from its logits."""


@dataclass(frozen=True)
class Generated:
    """Prompts with the generated tokens.

    Attributes:
        ids: prompts and generated tokens. A row that has closed repeats the closing token.
        logits: [row, step, vocab]: what each token was chosen from.
        touched: what each edit changed, over all steps, in the order of the edits.
    """

    ids: Int[Tensor, "row pos"]
    logits: Float[Tensor, "row step vocab"]
    touched: tuple[Touched, ...]


def generate(
    spliced: SplicedModel,
    ids: Int[Tensor, "row pos"],
    edits: Sequence[NodeEdit | KeepOnly] = (),
    *,
    new_tokens: int,
    error_mode: ErrorMode = "live",
    temperature: float = 0.0,
    seed: int | Sequence[int] = 0,
    closing_id: int | None = None,
    use_cache: bool = True,
    progress: Progress = silent,
) -> Generated:
    """Continue prompts of one length, with edits in place.

    Args:
        ids: prompts without padding.
        edits: as in `attribution/splice/edits.py`; positions that they name are absolute.
        new_tokens: how many tokens to generate; fewer if every row reaches `closing_id`.
        temperature: 0 takes the likeliest token; above 0, tokens are drawn with `seed`.
        seed: of all rows, or of each row: such a row is drawn alike whatever rows are beside it.
        closing_id: the token that ends a row; None for none.
        use_cache: run only new positions at each step. A model without a cache is run whole, with the same result, and
            a warning is given.
    """
    _check(spliced, ids, new_tokens, error_mode, temperature)
    if use_cache and not spliced.model.keeps_cache:
        warnings.warn(
            f"{spliced.model.name} does not keep a cache of keys and values: every step runs the whole text. "
            "The text is the same; it takes longer.",
            stacklevel=2,
        )
        use_cache = False
    ids = ids.to(spliced.model.device)
    run = _Run(spliced, [_checked(spliced, edit) for edit in edits], error_mode, use_cache)
    choose = _chooser(temperature, seed, ids.device)
    closed = torch.zeros_like(ids[:, 0], dtype=torch.bool)
    logits: list[Tensor] = []
    for step in range(new_tokens):
        logits.append(run.step(ids))
        if bool(logits[-1].isnan().any()):
            raise ValueError(f"Token {step + 1} to generate: its logits are no numbers. Change the nodes by less.")
        token = choose(logits[-1])
        if closing_id is not None:
            token = torch.where(closed, closing_id, token)
            closed |= token == closing_id
        ids = torch.cat([ids, token[:, None]], dim=1)
        progress((step + 1) / new_tokens)
        if closed.all():
            break
    return Generated(ids, torch.stack(logits, dim=1), tuple(map(_joined, run.touched)))


@dataclass
class _Run:
    """Runs a text step by step, and records what the edits change."""

    spliced: SplicedModel
    edits: Sequence[NodeEdit | KeepOnly]
    error_mode: ErrorMode
    use_cache: bool
    seen: int = 0
    caches: dict[str, Any] = field(default_factory=dict)
    touched: list[list[Touched]] = field(init=False)

    def __post_init__(self) -> None:
        self.touched = [[] for _ in self.edits]
        if self.use_cache:
            self.caches = {run: self.spliced.model.new_cache() for run in ("edited", "bare")}

    @torch.no_grad()
    def step(self, ids: Int[Tensor, "row pos"]) -> Float[Tensor, "row vocab"]:
        """Logits after the last token. With a cache, only positions that no earlier step has run are run."""
        start = self.seen if self.use_cache else 0
        last = torch.full_like(ids[:, 0], ids.shape[1] - 1)
        here = self.spliced.spliced_positions(ids, last)[:, start:]
        errors = self._errors(ids[:, start:], here) if self.error_mode == "frozen" else {}
        functions = {site: self._writer(site, here, start, errors.get(site)) for site in self.spliced.sites}
        logits = logits_with(self.spliced.model, ids[:, start:], functions, cache=self.caches.get("edited"))
        self.seen = ids.shape[1]
        return logits[:, -1]

    def _writer(self, site: str, here: Tensor, start: int, error: Tensor | None) -> SiteFunction:
        numbers = [n for n, edit in enumerate(self.edits) if edit.site == site]
        own = [self.edits[n].at(start) for n in numbers]

        def function(x: Tensor) -> Tensor:
            written = write_site(self.spliced.saes[site], x, here, own, self.error_mode, error)
            for n, touched in zip(numbers, written.touched, strict=True):
                self.touched[n].append(touched)
            return written.output

        return function

    def _errors(self, ids: Tensor, here: Tensor) -> Mapping[str, Tensor]:
        errors: dict[str, Tensor] = {}

        def reader(site: str) -> SiteFunction:
            def function(x: Tensor) -> Tensor:
                errors[site] = Parts.of(self.spliced.saes[site], x, here, settle=True).error
                return x

            return function

        functions = {site: reader(site) for site in self.spliced.sites}
        logits_with(self.spliced.model, ids, functions, cache=self.caches.get("bare"))
        return errors


def _check(spliced: SplicedModel, ids: Tensor, new_tokens: int, error_mode: ErrorMode, temperature: float) -> None:
    refuse_other_mode(error_mode, INTERVENED)
    if new_tokens < 1:
        raise ValueError(f"Generate at least 1 token; got {new_tokens}.")
    if not temperature >= 0:
        raise ValueError(f"The temperature must be 0 (the likeliest token) or positive; got {temperature}.")
    refuse_too_long(spliced.model, ids.shape[1] + new_tokens)


def refuse_too_long(model: LanguageModel, length: int) -> None:
    """A ValueError if so many tokens, of a prompt and what follows it, do not fit the model's context."""
    if model.n_context is not None and length > model.n_context:
        raise ValueError(f"{length} tokens in all; the model's context holds {model.n_context}. Generate fewer.")


def _checked(spliced: SplicedModel, edit: NodeEdit | KeepOnly) -> NodeEdit | KeepOnly:
    """The edit under its site's canonical name."""
    return replace(edit, site=spliced.site(edit.site))


def _chooser(temperature: float, seed: int | Sequence[int], device: torch.device) -> ChooseToken:
    if temperature == 0:
        return lambda logits: logits.argmax(-1)
    if isinstance(seed, int):
        draw = torch.Generator(device=device).manual_seed(seed)
        return lambda logits: torch.multinomial((logits / temperature).softmax(-1), 1, generator=draw)[:, 0]
    draws = [torch.Generator().manual_seed(own) for own in seed]

    def choose(logits: Float[Tensor, "row vocab"]) -> Int[Tensor, " row"]:
        likely = (logits / temperature).softmax(-1).cpu()
        drawn = [torch.multinomial(row, 1, generator=own) for row, own in zip(likely, draws, strict=True)]
        return torch.cat(drawn).to(device)

    return choose


def _joined(parts: Sequence[Touched]) -> Touched:
    return Touched(torch.cat([p.nodes for p in parts]).unique(), sum(p.values for p in parts))


@dataclass(frozen=True)
class GeneratedText:
    """A prompt and its continuation without and with the ablation, without the closing token."""

    __repr__ = short_repr

    prompt: str
    before: str
    after: str


def continue_prompt(
    situation: Situation,
    labels: Sequence[str],
    ablation: Ablation,
    *,
    new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    progress: Progress = silent,
) -> GeneratedText:
    """Continue a prompt without and with an ablation, for `new_tokens` tokens or until the closing token.

    Nodes that are named without a position change at every step; the others where the prompt has their position. New
    text has no patch prompt, so 0 takes the place of counterfactual values.

    Args:
        situation: of one pair; its clean prompt is continued.
        labels: the names of the prompt's positions.
        temperature: 0 takes the likeliest token; above 0, tokens are drawn with `seed`.

    >>> from attribution import counterfactual, position_names, prepare
    >>> one, ablation = pairs.head(1), Ablation.named([name], spliced, pairs)
    >>> situation = prepare(spliced, one.batch(), logit_difference, ablation.error_mode, counterfactual)
    >>> text = continue_prompt(situation, position_names(one)[0], ablation, new_tokens=3)
    >>> len(text.before.split()), len(text.after.split())
    (3, 3)
    """
    spliced, ids = situation.spliced, situation.batch.clean_ids
    edits = constant_edits(ablation, situation, [labels])
    texts: list[str] = []
    for half, own in enumerate(((), edits)):
        found = generate(
            spliced,
            ids,
            own,
            new_tokens=new_tokens,
            error_mode=ablation.error_mode,
            temperature=temperature,
            seed=seed,
            closing_id=spliced.model.eos_id,
            progress=lambda share, half=half: progress((half + share) / 2),
        )
        texts.append(decoded_text(found.ids[0, ids.shape[1] :].tolist(), spliced.model))
    return GeneratedText(decoded_text(ids[0].tolist(), spliced.model), *texts)


def decoded_text(ids: Sequence[int], model: LanguageModel) -> str:
    """Token ids as text on one line, without BOS and EOS."""
    words = [t for t in ids if t not in (model.bos_id, model.eos_id)]
    return "".join(model.shown_in_text(words)).strip()
