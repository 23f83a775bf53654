"""A decoder-only Hugging Face model under the names that `LanguageModel` asks for, without TransformerLens.

Its modules stay as they are; `addresses.py` finds the sites among them. Used for models that TransformerLens does not
know or gets wrong.
"""

from types import SimpleNamespace
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from attribution.models.addresses import Address, BlockRun, addresses_of_block, block_list, final_norm
from attribution.models.hooks import watched

_SETTINGS: Final = {
    "n_layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "d_model": ("hidden_size", "n_embd", "d_model"),
    "n_heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "d_vocab": ("vocab_size",),
    "n_ctx": ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"),
    "d_mlp": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    "output_logits_soft_cap": ("final_logit_softcapping",),
}
"""Name here -> the names that configurations of Hugging Face give it."""

_PROBE: Final = 7
"""Tokens of the run in which sites are looked for."""


@final
class HuggingFaceModel(nn.Module):
    """The blocks, final norm, unembedding and sites of a Hugging Face model.

    Raises:
        LookupError: its blocks or its unembedding cannot be found; the message says which.
    """

    def __init__(self, hf_model: Any, name: str) -> None:
        super().__init__()
        config = hf_model.config.get_text_config()
        self.original_model = hf_model
        self.cfg = _settings(config)
        self.cfg.model_name = name
        self.unembed = hf_model.get_output_embeddings()
        if self.unembed is None:
            raise LookupError("it has no output embeddings, so no logits of tokens")
        self.blocks = block_list(hf_model, self.cfg.n_layers)
        self.ln_final = final_norm(hf_model, self.blocks)
        self.hook_dict = self._sites()

    def forward(self, ids: Tensor, *, use_cache: bool = False, past_key_values: Any = None) -> Tensor:
        """Logits at every position."""
        cache = {} if past_key_values is None else {"past_key_values": past_key_values}
        return self.original_model(ids, use_cache=use_cache, **cache).logits

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """That of the Hugging Face model: the names of its weights, each once."""
        return self.original_model.state_dict(*args, **kwargs)

    def _sites(self) -> dict[str, Address]:
        """Every site of every block, found in one run of a few tokens."""
        device = next(self.original_model.parameters()).device
        ids = (torch.arange(_PROBE, device=device)[None] * 5 + 3) % self.cfg.d_vocab
        inner = [module for block in self.blocks for module in block.modules()]
        with torch.no_grad(), watched(inner) as calls:
            self.original_model(ids, use_cache=False)
        found: dict[str, Address] = {}
        for layer, block in enumerate(self.blocks):
            if block not in calls.outputs or calls.inputs[block].shape[:2] != ids.shape:
                raise LookupError(f"its block {layer} is not called with one hidden state for each token")
            own = set(block.modules())
            run = BlockRun(
                before=calls.inputs[block],
                after=calls.outputs[block],
                outputs=[(module, output) for module, output in calls.outputs.items() if module in own],
                inputs=calls.inputs,
            )
            found |= {f"blocks.{layer}.{site}": a for site, a in addresses_of_block(block, run).items()}
        return found


def _settings(config: Any) -> SimpleNamespace:
    found = SimpleNamespace()
    for name, theirs in _SETTINGS.items():
        values = [value for key in theirs if (value := getattr(config, key, None)) is not None]
        setattr(found, name, values[0] if values else None)
    missing = [name for name in ("n_layers", "d_model", "d_vocab") if getattr(found, name) is None]
    if missing:
        raise LookupError(f"its configuration does not say {', '.join(missing)}")
    return found
