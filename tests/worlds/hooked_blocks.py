"""What test models of a few blocks share: hook points by name, and a forward pass through all blocks."""

from typing import Any

from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint


class HookedBlocks(nn.Module):
    """An `embed`, `blocks` and an `unembed`, which a model sets before it calls `name_hooks`."""

    embed: Any
    blocks: Any
    unembed: Any
    hook_dict: dict[str, HookPoint]

    def name_hooks(self) -> None:
        """Fill `hook_dict`, as TransformerLens models have it."""
        self.hook_dict = {name: module for name, module in self.named_modules() if isinstance(module, HookPoint)}
        for name, module in self.hook_dict.items():
            module.name = name

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        assert attention_mask is None
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x)
        return self.unembed(x)
