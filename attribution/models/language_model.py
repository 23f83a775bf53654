"""A language model under one interface: its sites by name, whole runs, and runs from a block on.

Works with a `TransformerBridge` (transformer-lens 3.9 and 4.x), a `HookedTransformer` (3.9) and a `HuggingFaceModel`,
through what all have: `hook_dict`, `blocks`, `ln_final`, `unembed`, `cfg`. `loading.py` opens models, `hooks.py`
installs hooks, `proofs.py` holds what a model must prove.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from attribution.models.addresses import Address
from attribution.models.block_calls import BlockCall, RowAxes
from attribution.models.model_identity import digest_of_weights, settings_of
from attribution.models.opening import Bos, Opening, PromptOpening, own_bos_id
from attribution.models.prompt_lengths import PromptLengths, growing_rotary, set_back_rotary
from attribution.models.site_names import SiteNames
from attribution.models.tokenising import following_ids, shown_in_text, shown_tokens, text_ids, token_text, token_texts
from attribution.models.unembedding import all_logits, chosen_logits, logits_of_directions

if TYPE_CHECKING:
    from attribution.models.loading import Backend, Booted
    from attribution.models.proofs import Proof

AS_GIVEN: Final = "as given"
"""The backend of a model that was not loaded here."""


@final
class LanguageModel:
    """A model with canonical names of sites, which can be run whole or from any block on.

    Sites have the names that HookedTransformer gives them (`blocks.3.hook_mlp_out`). A bridge's own names
    (`blocks.3.mlp.hook_out`) resolve to these.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any = None,
        name: str | None = None,
        *,
        bos: Bos | None = None,
        causal: bool = True,
    ) -> None:
        missing = [a for a in ("hook_dict", "blocks", "unembed", "cfg") if not hasattr(model, a)]
        if missing:
            raise TypeError(
                f"{type(model).__name__} is not a TransformerLens model: it has no {', '.join(missing)}. "
                "Give a HookedTransformer or a TransformerBridge, or call LanguageModel.load(name_or_folder)."
            )
        self.module: Any = model
        self._is_frozen = False
        self.causal = causal
        """False: attention may look both ways."""
        self.tokenizer: Any = tokenizer if tokenizer is not None else getattr(model, "tokenizer", None)
        self.name = name or str(getattr(model.cfg, "model_name", type(model).__name__))
        self._sites = SiteNames(self.module.hook_dict)
        self._bos_id = own_bos_id(self.tokenizer)
        by_architecture = getattr(model.cfg, "default_prepend_bos", None)
        self._opening = PromptOpening(self.tokenizer, self.bos_id, by_architecture, bos)
        self.booted: Booted | None = None
        """How it was loaded; None for a model that was built elsewhere."""
        self.row_axes: tuple[RowAxes, ...] = ()
        """For each block, where its arguments hold the rows, once that is proved."""
        self.overwritten: frozenset[str] = frozenset()
        """Sites whose activation the model overwrites after it has passed there (`soundness.py`)."""

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        return (
            f"LanguageModel({self.name!r}: {self.n_layers} layers, d_model {self.d_model}, vocabulary "
            f"{self.d_vocab:,}, {dtype} on {self.device}, run by {type(self.module).__name__})"
        )

    @classmethod
    def load(
        cls,
        name_or_folder: str | Path,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        backend: "Backend" = "auto",
        bos: Bos | None = None,
    ) -> "LanguageModel":
        """A model by its TransformerLens or Hugging Face name, or from a local Hugging Face folder, offline.

        Raises:
            FileNotFoundError: a path that is not a Hugging Face model folder.
            ValueError: it fails a proof (`loading.py`, `proofs.py`).
        """
        from attribution.models.loading import boot

        booted = boot(name_or_folder, device=device, dtype=dtype, backend=backend)
        model = cls(booted.module, booted.tokenizer, booted.name, bos=bos)
        model.booted, _ = booted, model.proof
        return model

    @cached_property
    def proof(self) -> "Proof":
        """What the model has proved on prompts of a few tokens, before anything is measured on it (`proofs.py`).

        Raises:
            ValueError: its logits are not finite, or it is not causal.
        """
        from attribution.models.proofs import prove

        proof = prove(self)
        self.row_axes = proof.axes
        return proof

    @property
    def lengths(self) -> PromptLengths:
        """Which prompts may share a batch (`prompt_lengths.py`)."""
        return self.proof.lengths

    @property
    def backend(self) -> str:
        """Who runs its blocks: `transformer-lens`, `hugging-face`, or `as given` to Python."""
        return AS_GIVEN if self.booted is None else self.booted.backend

    @property
    def names(self) -> tuple[str, ...]:
        """Every name by which the model is known: that here, TransformerLens', and those in its files."""
        own = getattr(self.module.cfg, "model_name", None)
        return (self.name, *(() if not isinstance(own, str) else (own,)), *(self.booted.names if self.booted else ()))

    @property
    def configuration(self) -> Any:
        """That of the Hugging Face model, for a multimodal one of its text model; else TransformerLens' own."""
        config = getattr(getattr(self.module, "original_model", None), "config", None)
        return self.module.cfg if config is None else config.get_text_config()

    @property
    def is_bridge(self) -> bool:
        return hasattr(self.module, "original_model")

    @property
    def n_layers(self) -> int:
        return len(self.module.blocks)

    @property
    def d_model(self) -> int:
        return int(self.module.cfg.d_model)

    @property
    def d_vocab(self) -> int:
        return int(self.module.cfg.d_vocab)

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.module.parameters()).dtype

    @property
    def n_context(self) -> int | None:
        """The longest prompt in tokens, if the configuration says; else None."""
        return self.lengths.longest or getattr(self.module.cfg, "n_ctx", None)

    @property
    def bos_id(self) -> int | None:
        """The token that the tokenizer's own files call BOS; None if they name none. Prompts need not open with it."""
        if self.tokenizer is not None:
            return self._bos_id
        return getattr(getattr(getattr(self.module, "original_model", None), "config", None), "bos_token_id", None)

    @property
    def eos_id(self) -> int | None:
        """The token id that closes a text; None if the model has none."""
        return getattr(self.tokenizer, "eos_token_id", None)

    @property
    def unknown_id(self) -> int | None:
        """The token for words that the tokenizer does not know; None if it has none, or its BOS is that token."""
        found = getattr(self.tokenizer, "unk_token_id", None)
        return None if found == self.bos_id else found

    def probe_ids(self) -> Int[Tensor, "1 pos"]:
        """A short prompt of arbitrary tokens, for checks at load."""
        ids = torch.arange(3, 8, device=self.device)[None] % self.d_vocab
        if self.bos_id is not None and self.bos_id < self.d_vocab:
            ids[:, 0] = self.bos_id
        return ids

    def hook_names(self) -> list[str]:
        """Canonical names of every hook of the model, without aliases."""
        return list(self._sites.hooks)

    def resolve(self, name: str) -> str:
        """The canonical name of a hook.

        Raises:
            LookupError: an unknown name; the message lists near matches.
        """
        return self._sites.resolve(name)

    def canonical(self, name: str) -> str:
        """The canonical name of a hook; a name that no hook has, as a kind or a glob of sites, stays as it is."""
        try:
            return self.resolve(name)
        except LookupError:
            return name

    def hook_point(self, site: str) -> nn.Module | Address:
        """The module whose output is the activation at a site, or its address in a Hugging Face model."""
        return self._sites.hooks[self.resolve(site)]

    def refuse_unsound(self, site: str) -> None:
        """Refuse `hook_resid_mid` of a bridge: a write there reaches LN2 and the MLP, but not the skip path.

        Raises:
            ValueError: the site is one of these.
        """
        if self.is_bridge and site.endswith("hook_resid_mid"):
            raise ValueError(
                f"{site!r} cannot be spliced on a TransformerBridge: a write there misses the skip path, so "
                f"patching would be wrong while the gradient looks right. Splice "
                f"{site.replace('hook_resid_mid', 'hook_attn_out')!r} instead, or use a HookedTransformer."
            )

    def logits(self, ids: Int[Tensor, "row pos"], cache: Any = None) -> Float[Tensor, "row read vocab"]:
        """One plain forward pass in evaluation mode. Right padding needs no mask, because attention is causal.

        Logits are computed at every position, unless `hooks.logits_at` asks for one position of each row. With a cache
        from `new_cache`, `ids` continue the text that the cache holds, and the cache is extended.
        """
        with self.frozen():
            if cache is None:
                set_back_rotary(self._growing_rotary)
            return self._forward(ids, cache)

    def forget_patterns(self) -> None:
        """Drop the attention patterns that TransformerLens' modules keep of their last run, with its whole graph."""
        for attention in self.keep_patterns:
            attention._pattern = None

    @cached_property
    def keep_patterns(self) -> list[Any]:
        """TransformerLens' modules that do so."""
        return [module for module in self.module.modules() if hasattr(module, "_pattern")]

    def new_cache(self) -> Any:
        """An empty cache of keys and values for `logits`; of use only if the model `keeps_cache`."""
        from transformers import DynamicCache

        return DynamicCache()

    @cached_property
    def keeps_cache(self) -> bool:
        """True if continuing from a cache gives the logits of the whole run, measured on a short prompt.

        A bridge without a Hugging Face model silently ignores the cache, and its logits are then wrong.
        """
        if not self.is_bridge:
            return False
        ids, cache = self.probe_ids(), self.new_cache()
        try:
            with torch.no_grad():
                whole = self.logits(ids)
                parts = [self.logits(part, cache) for part in (ids[:, :2], *ids[:, 2:].split(1, dim=1))]
        except (TypeError, AttributeError, RuntimeError, IndexError):
            return False
        return bool((torch.cat(parts, dim=1) - whole).abs().max() <= 1e-4 * whole.abs().max())

    @cached_property
    def _growing_rotary(self) -> tuple[Any, ...]:
        return growing_rotary(self.module)

    def _forward(self, ids: Int[Tensor, "row pos"], cache: Any = None) -> Float[Tensor, "row read vocab"]:
        if self.is_bridge:
            if cache is None:
                return self.module(ids, use_cache=False)
            return self.module(ids, past_key_values=cache, use_cache=True)
        if cache is not None:
            raise ValueError(f"{self.name} is no TransformerBridge: it is run without a cache.")
        # HookedTransformer guesses a mask from the padding token when its tokenizer pads on the left.
        guesses_mask = getattr(self.tokenizer, "padding_side", "right") == "left"
        return self.module(ids, attention_mask=torch.ones_like(ids) if guesses_mask else None)

    def run_blocks(
        self,
        hidden: Float[Tensor, "row pos d_model"],
        first_block: int,
        calls: Sequence[BlockCall],
    ) -> Float[Tensor, "row pos d_model"]:
        """Run `len(calls)` blocks from `first_block` on, each with the arguments that a whole run passed to it."""
        chosen = list(self.module.blocks)[first_block : first_block + len(calls)]
        for block, call in zip(chosen, calls, strict=True):
            output = block(hidden, *call.arguments, **call.keywords)
            hidden = output[0] if isinstance(output, tuple | list) else output
        return hidden

    def head(self, hidden: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos vocab"]:
        """Final norm, unembedding and soft cap: from the last residual stream to logits."""
        return all_logits(self.module, hidden)

    def head_columns(
        self, hidden: Float[Tensor, "run d_model"], columns: Int[Tensor, "run column"]
    ) -> Float[Tensor, "run column"]:
        """Only the chosen logits of each run, from its last residual stream."""
        return chosen_logits(self.module, hidden, columns)

    def direct_logits(self, directions: Float[Tensor, "direction d_model"]) -> Float[Tensor, "direction vocab"]:
        """Logits of each direction alone, up to a positive factor (`unembedding.py`)."""
        with torch.no_grad(), self.frozen():
            return logits_of_directions(self.module, directions, self.dtype)

    def attention_output(self, layer: int) -> tuple[Float[Tensor, "head d_head d_model"], Float[Tensor, " d_model"]]:
        """W_O by head, and the bias that is added to the sum over heads (0 if there is none)."""
        attention = getattr(self.module.blocks[layer], "attn", None)
        W_O = getattr(attention, "W_O", None)
        if not isinstance(W_O, Tensor) or W_O.ndim != 3:
            raise ValueError(f"Layer {layer} of {self.name} has no output weights by head (attn.W_O).")
        b_O = getattr(attention, "b_O", None)
        return W_O.detach(), torch.zeros_like(W_O[0, 0]) if b_O is None else b_O.detach()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside the `with`, parameters need no gradient and dropout is off; afterwards both are restored."""
        if self._is_frozen:
            yield
            return
        trained = [p for p in self.module.parameters() if p.requires_grad]
        training = [
            m
            for root in (self.module, getattr(self.module, "original_model", None))
            if root is not None
            for m in root.modules()
            if m.training
        ]
        self._is_frozen = True
        try:
            for p in trained:
                p.requires_grad_(False)
            for m in training:
                m.training = False
            yield
        finally:
            self._is_frozen = False
            for p in trained:
                p.requires_grad_(True)
            for m in training:
                m.training = True

    @property
    def opening(self) -> Opening:
        """What opens a prompt: BOS or nothing, and why (`opening.py`). Decided once."""
        return self._opening.decided

    @property
    def bos(self) -> Bos | None:
        """What the user chose of BOS; None if nothing."""
        return self._opening.chosen

    def hear_of_bos(self, dictionaries: Mapping[str, bool | None]) -> None:
        """What dictionaries were trained on, by site: whether prompts opened with BOS, None where they do not say."""
        self._opening.hear(dictionaries)

    def token_ids(self, text: str) -> list[int]:
        """Token ids of a prompt, after what opens it."""
        return self._opening.of(text, text_ids(self.tokenizer, text))

    def answer_ids(self, prompt: Sequence[int], answer: str, text: str | None = None) -> list[int]:
        """The token ids of an answer where it follows a prompt, whose text may be given.

        If the prompt's ids are not those of a text, the answer is read alone.

        Raises:
            ValueError: the answer changes the prompt's own tokens; the message shows both.
        """
        own = list(prompt[int(len(prompt) > 0 and prompt[0] == self.bos_id) :])
        in_vocabulary = all(0 <= token < self.d_vocab for token in own)
        decoded = "".join(token_texts(self.tokenizer, own)) if in_vocabulary else None
        for known in filter(None, (text, decoded)):
            if text_ids(self.tokenizer, known) == own:
                return following_ids(self.tokenizer, known, answer)
        return text_ids(self.tokenizer, answer)

    def token_text(self, token_id: int) -> str:
        """One token as a person reads it."""
        return token_text(self.tokenizer, token_id)

    def token_texts(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The part of a prompt's text that belongs to each token: after an opening BOS, joined, they are the text."""
        return self._after_opening(token_texts, ids)

    def shown_in_text(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The tokens as a person reads them in running text; what is no visible character by value, as `<0x0A>`."""
        return self._after_opening(shown_in_text, ids)

    def shown_tokens(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The tokens as a person reads them one by one; none is empty (`tokenising.py`)."""
        return self._after_opening(shown_tokens, ids)

    def _after_opening(
        self, texts: Callable[[Any, Sequence[int]], tuple[str, ...]], ids: Sequence[int]
    ) -> tuple[str, ...]:
        """An opening BOS by itself, and the texts of what follows it."""
        opening = int(len(ids) > 0 and ids[0] == self.bos_id)
        return (*map(self.token_text, ids[:opening]), *texts(self.tokenizer, ids[opening:]))

    def shown(self, ids: Sequence[int]) -> str:
        """Token ids as one line of text, with bars between the tokens: `<s>|the| cat`."""
        return "|".join(self.shown_tokens(ids))

    def settings(self) -> dict[str, Any]:
        """The configuration as plain data (`model_identity.py`)."""
        return settings_of(self.module)

    def digest(self) -> str:
        """sha256 over all weights (`model_identity.py`)."""
        return digest_of_weights(self.module)
