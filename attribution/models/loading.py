"""Open a model with TransformerLens: the only file that imports it."""

from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

_TOKENIZER_FILES: Final = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "vocab.txt")


def boot(
    name_or_folder: str | Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[nn.Module, Any, str]:
    """A `TransformerBridge`, its tokenizer (None: the bridge's own, or none), and the model's name.

    A name is resolved by TransformerLens or Hugging Face. A folder is read offline. TransformerLens changes the special
    tokens of the tokenizer it is given, so it gets a copy.

    Raises:
        FileNotFoundError: a path that is not a Hugging Face model folder.
    """
    from transformer_lens.model_bridge import TransformerBridge

    folder = Path(name_or_folder)
    if not folder.is_dir():
        if folder.is_absolute() or str(name_or_folder).startswith((".", "~")):
            raise FileNotFoundError(f"{folder} is not a folder. Give a Hugging Face folder or a model name.")
        bridge = TransformerBridge.boot_transformers(str(name_or_folder), device=device, dtype=dtype)
        return bridge, None, str(name_or_folder)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} has no config.json: not a Hugging Face model folder.")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    hf_model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
    hf_model = hf_model.to(device)
    has_tokenizer = any((folder / name).is_file() for name in _TOKENIZER_FILES)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True) if has_tokenizer else None
    bridge = TransformerBridge.boot_transformers(
        str(folder), hf_model=hf_model, tokenizer=deepcopy(tokenizer), device=device, dtype=dtype
    )
    return bridge, tokenizer, folder.resolve().name
