"""Open a model: the only file that imports TransformerLens.

The Hugging Face model is loaded first and run on two short prompts. TransformerLens then wraps it, and the bridge must
give the same logits. A model that TransformerLens does not know, or gets wrong, is run from its Hugging Face modules
(`hugging_face.py`), unless the backend is chosen.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor, nn

from attribution.models.hub import model_folder
from attribution.models.hugging_face import HuggingFaceModel
from attribution.models.proofs import difference, tolerance
from graphs.files.plain_json import parse_json
from graphs.files.text_file import read_text

Backend = Literal["auto", "transformer-lens", "hugging-face"]
"""Who runs the model's blocks: TransformerLens, or the Hugging Face modules themselves. `auto`: the first that can."""

_TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")
_LENGTHS: Final = (11, 6)
"""Tokens of the two prompts on which a bridge is compared with its model."""
_KERNELS: Final = 30
"""How many times as large it may be between two kernels of attention, if it is not between equal ones."""


@dataclass(frozen=True)
class Booted:
    """A model that was opened.

    Attributes:
        module: a `TransformerBridge` or a `HuggingFaceModel`.
        tokenizer: that of the folder; None for one of TransformerLens' own, or none.
        backend: who runs it.
        reason: why, where TransformerLens was asked first and does not run it; else None.
        difference: of its logits from those of the Hugging Face model, as a share of their spread.
        architecture: Hugging Face's class of the model.
        names: every name that its files have: that of the folder or hub, and the one that its configuration states.
    """

    module: nn.Module
    tokenizer: Any
    name: str
    backend: str
    reason: str | None
    difference: float
    architecture: str
    names: tuple[str, ...] = ()


def boot(
    name_or_folder: str | Path,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    backend: Backend = "auto",
) -> Booted:
    """A model by its TransformerLens or Hugging Face name, or from a folder, offline.

    TransformerLens changes the special tokens of the tokenizer it is given, so it gets a copy.

    Raises:
        FileNotFoundError: a path that is not a Hugging Face model folder, or a name that cannot be looked up.
        ValueError: no decoder-only language model, weights that are not finite, or a backend that cannot run it.
    """
    if backend not in get_args(Backend):
        raise ValueError(f"Unknown backend {backend!r}. Choose one of: {', '.join(get_args(Backend))}.")
    source = _Source.of(name_or_folder)
    hf_model = source.model(device, dtype)
    _refuse_infinite(source.name, hf_model)
    tokenizer = source.tokenizer()
    reason = None
    if backend != "hugging-face":
        module, apart, reason = _bridge(source, hf_model, tokenizer, device, dtype)
        if module is not None:
            about = "transformer-lens", None, apart, _class_of(hf_model), source.names
            return Booted(module, tokenizer, source.name, *about)
        if backend == "transformer-lens":
            raise ValueError(f"{source.name}: {reason} Choose --backend hugging-face, or leave it to auto.")
        hf_model = source.model(device, dtype)
    try:
        module = HuggingFaceModel(hf_model, source.name)
    except LookupError as error:
        first = "" if reason is None else f"{reason} "
        raise ValueError(
            f"{source.name}: {first}Its Hugging Face modules ({_class_of(hf_model)}) cannot be used: {error.args[0]}."
        ) from None
    about = "hugging-face", reason, 0.0, _class_of(hf_model), source.names
    return Booted(module, tokenizer, source.name, *about)


@dataclass(frozen=True)
class _Source:
    """Where a model's files are: a folder, read offline (given, or that of the cache), or a name on the hub."""

    path: str
    name: str
    is_folder: bool
    names: tuple[str, ...]

    @classmethod
    def of(cls, name_or_folder: str | Path) -> "_Source":
        name, folder = str(name_or_folder), model_folder(name_or_folder, hub_name)
        if folder is None:
            return cls(hub_name(name), name, is_folder=False, names=(name, hub_name(name)))
        shown = folder.resolve().name if Path(name).is_dir() else name
        return cls(str(folder), shown, is_folder=True, names=(shown, *_names_in(folder)))

    @property
    def _opened(self) -> dict[str, Any]:
        """A folder is read offline, and no code that lies beside a model is run."""
        return {"local_files_only": self.is_folder, "trust_remote_code": False}

    def model(self, device: str, dtype: torch.dtype) -> Any:
        """The Hugging Face model as transformers opens it."""
        from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM

        config = AutoConfig.from_pretrained(self.path, **self._opened)
        kind = f"{self.name} is a {config.model_type} model"
        if getattr(config, "is_encoder_decoder", False):
            raise ValueError(f"{kind}, an encoder with a decoder: circuits are found in decoder-only language models.")
        if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
            raise ValueError(f"{kind}, which transformers cannot open as a causal language model.")
        hf_model: Any = AutoModelForCausalLM.from_pretrained(self.path, dtype=dtype, weights_only=True, **self._opened)
        return hf_model.to(device).eval()

    def tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        if self.is_folder and not any((Path(self.path) / name).is_file() for name in _TOKENIZER_FILES):
            return None
        return AutoTokenizer.from_pretrained(self.path, **self._opened)


def _names_in(folder: Path) -> Iterator[str]:
    """The names that a folder's path and its config.json give the model: that of the hub's cache, `_name_or_path`."""
    for part in folder.resolve().parts:
        if part.startswith("models--"):
            yield part.rpartition("--")[2]
    try:
        config = parse_json(read_text(folder / "config.json"))
    except ValueError:  # transformers reads it too, and has looser rules
        return
    if isinstance(config, dict) and isinstance(name := config.get("_name_or_path"), str) and name:
        yield name


def hub_name(name: str) -> str:
    """The Hugging Face name of a model for which TransformerLens has a short one, such as `gpt2-small`."""
    try:
        from transformer_lens.tools.model_registry.registry_io import resolve_model_alias
    except ImportError:
        return _hub_name_of_old_lens(name)
    return resolve_model_alias(name) or name


def _hub_name_of_old_lens(name: str) -> str:
    """As `hub_name`, by TransformerLens 3."""
    try:
        from transformer_lens.loading_from_pretrained import (  # pyright: ignore[reportMissingImports]
            get_official_model_name,
        )

        return get_official_model_name(name)
    except (ImportError, ValueError):
        return name


def _class_of(hf_model: Any) -> str:
    return type(hf_model).__name__


def _refuse_infinite(name: str, hf_model: Any) -> None:
    for tensor_name, tensor in hf_model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            bad = int((~torch.isfinite(tensor)).sum())
            raise ValueError(
                f"{name}: the weight {tensor_name!r} has {bad} of {tensor.numel()} values that are not finite. "
                "The file is damaged, or its training diverged."
            )


def _bridge(
    source: _Source, hf_model: Any, tokenizer: Any, device: str, dtype: torch.dtype
) -> tuple[nn.Module | None, float, str]:
    """TransformerLens' bridge to the model, or None and why not; the difference of its logits from the model's."""
    from transformer_lens.model_bridge import TransformerBridge

    prompts = _prompts(hf_model.config.get_text_config(), device)
    try:
        as_loaded = _logits(hf_model, prompts)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{source.name}: transformers itself cannot run it ({_first_words(error)}).") from error
    try:
        eager = _logits_by_eager_attention(hf_model, prompts)
        bridge = TransformerBridge.boot_transformers(
            source.path, hf_model=hf_model, tokenizer=deepcopy(tokenizer), device=device, dtype=dtype
        )
        with torch.no_grad():
            found = _side_by_side([bridge(ids, use_cache=False) for ids in prompts])
    except Exception as error:  # whatever an adapter meets in a model it was not written for
        return None, 0.0, f"TransformerLens cannot run {_class_of(hf_model)} ({_first_words(error)})."
    apart = difference(found, as_loaded)
    if min(apart, max(apart / _KERNELS, difference(found, eager))) <= tolerance(dtype):
        return bridge, apart, ""
    differs = f"they differ by {apart:.2g} of their spread"
    return None, apart, f"TransformerLens computes other logits than {_class_of(hf_model)}: {differs}."


def _logits(hf_model: Any, prompts: Sequence[Tensor]) -> Tensor:
    with torch.no_grad():
        return _side_by_side([hf_model(ids, use_cache=False).logits for ids in prompts])


def _side_by_side(logits: Sequence[Tensor]) -> Tensor:
    """The logits of all prompts, one prompt after the other."""
    return torch.cat(list(logits), dim=1)


def _logits_by_eager_attention(hf_model: Any, prompts: Sequence[Tensor]) -> Tensor:
    """With the plain attention that a bridge uses: kernels that fuse it sum in another order."""
    chosen = hf_model.config._attn_implementation
    hf_model.set_attn_implementation("eager")
    try:
        return _logits(hf_model, prompts)
    finally:
        hf_model.set_attn_implementation(chosen)


def _prompts(config: Any, device: str) -> list[Tensor]:
    """Two prompts of unequal length, of tokens from the whole vocabulary."""
    generator = torch.Generator().manual_seed(0)
    longest = getattr(config, "max_position_embeddings", None) or _LENGTHS[0]
    lengths = [min(length, longest - shorter) for shorter, length in enumerate(_LENGTHS)]
    return [torch.randint(config.vocab_size, (1, length), generator=generator).to(device) for length in lengths]


def _first_words(error: Exception) -> str:
    """The start of an error's text: adapters list hundreds of classes after it."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."
