"""Compiled programs as models that `LanguageModel` takes.

    x = embed(token) + pos_embed(position)
    x = x + attention(x);   x = x + relu(x @ up) @ down                     in every block; no layer norm, no bias

Every residual dimension has a name: `count:3` is 1 where the variable `count` has the value 3, `share of x` holds a
number. Attention looks both ways. The vocabulary is BOS, the program's tokens and its outputs. Logits of outputs are
the output variable's dimensions, all others are 0; as a token an output has no value, only the constant 1.
Source: Lindner et al. 2023 (tracr).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, final

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from attribution import LanguageModel
from benchmarks.programs.folder import FOLDER
from benchmarks.programs.library import PROGRAMS, Program
from benchmarks.programs.rasp import Value

BOS: Final = 0


@final
@dataclass(frozen=True)
class Compiled:
    """A program and its model.

    Attributes:
        residual: the names of the residual dimensions.
        outputs: the output variable's dimensions.
        expected: tracr's own values in those dimensions at the last position, for some prompts (token ids).
    """

    program: Program
    model: LanguageModel
    residual: tuple[str, ...]
    outputs: tuple[int, ...]
    prompts: Int[Tensor, "prompt pos"]
    expected: Float[Tensor, "prompt output"]

    def ids(self, tokens: tuple[Value, ...]) -> tuple[int, ...]:
        """BOS and the tokens, as ids."""
        return BOS, *(1 + self.program.alphabet.index(token) for token in tokens)

    def output_id(self, value: Value) -> int:
        """The id of an output value; a number has one id, whatever its size."""
        names = [self.residual[n] for n in self.outputs]
        name = self.program.output.name if self.program.output.numerical else f"{self.program.output.name}:{value}"
        return 1 + len(self.program.alphabet) + names.index(name)

    @cached_property
    def variable_of(self) -> tuple[str, ...]:
        """The variable that each residual dimension belongs to."""
        return tuple(name.split(":")[0] for name in self.residual)


def load_compiled(name: str, folder: Path = FOLDER, dtype: torch.dtype = torch.float64) -> Compiled:
    """A compiled program of the library by name."""
    if name not in PROGRAMS:
        raise LookupError(f"No program {name!r}. Programs: {', '.join(PROGRAMS)}.")
    about = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    model = CompiledModel(load_file(folder / f"{name}.safetensors"), about["heads"], about["outputs"], name).to(dtype)
    return Compiled(
        program=PROGRAMS[name],
        model=LanguageModel(model, Vocabulary(), name=f"compiled {name}", causal=False),
        residual=tuple(about["residual"]),
        outputs=tuple(about["outputs"]),
        prompts=torch.tensor(about["prompts"]),
        expected=torch.tensor(about["expected"]),
    )


class CompiledBlock(nn.Module):
    """One layer: attention that looks both ways, then an MLP of ReLUs."""

    def __init__(self, weights: Mapping[str, Tensor], heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.hook_resid_pre, self.hook_attn_out = HookPoint(), HookPoint()
        self.hook_mlp_out, self.hook_resid_post = HookPoint(), HookPoint()
        self.query, self.key, self.value, self.out, self.up, self.down = (
            nn.Parameter(weights[name]) for name in ("query", "key", "value", "out", "up", "down")
        )

    def forward(self, x: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos d_model"]:
        x = self.hook_resid_pre(x)
        x = x + self.hook_attn_out(self.attention(x))
        return self.hook_resid_post(x + self.hook_mlp_out((x @ self.up).relu() @ self.down))

    def attention(self, x: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos d_model"]:
        q, k, v = (
            rearrange(x @ weight, "row pos (head size) -> row head pos size", head=self.heads)
            for weight in (self.query, self.key, self.value)
        )
        scores = einsum(q, k, "row head to size, row head at size -> row head to at") / q.shape[-1] ** 0.5
        mixed = einsum(scores.softmax(-1), v, "row head to at, row head at size -> row head to size")
        return rearrange(mixed, "row head pos size -> row pos (head size)") @ self.out


class CompiledModel(nn.Module):
    """What LanguageModel asks of a model, with the weights that tracr compiled."""

    def __init__(self, weights: Mapping[str, Tensor], heads: int, outputs: list[int], name: str) -> None:
        super().__init__()
        tokens, d_model = weights["embed"].shape
        d_vocab = tokens + len(outputs)
        no_token = weights["embed"].min(0, keepdim=True).values
        self.embed = nn.Embedding.from_pretrained(torch.cat([weights["embed"], no_token.expand(len(outputs), -1)]))
        self.pos_embed = nn.Parameter(weights["pos_embed"])
        layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
        parts = ("query", "key", "value", "out", "up", "down")
        self.blocks = nn.ModuleList(
            CompiledBlock({part: weights[f"blocks.{layer}.{part}"] for part in parts}, heads) for layer in range(layers)
        )
        self.unembed = nn.Linear(d_model, d_vocab, bias=False)
        with torch.no_grad():
            self.unembed.weight.zero_()
            self.unembed.weight[range(tokens, d_vocab), outputs] = 1.0
        self.cfg = SimpleNamespace(d_model=d_model, d_vocab=d_vocab, n_ctx=len(self.pos_embed), model_name=name)
        self.hook_dict: dict[str, HookPoint] = {}
        for hook_name, module in self.named_modules():
            if isinstance(module, HookPoint):
                module.name = hook_name
                self.hook_dict[hook_name] = module

    def forward(
        self, ids: Int[Tensor, "row pos"], attention_mask: Tensor | None = None
    ) -> Float[Tensor, "row pos vocab"]:
        assert attention_mask is None
        x = self.embed(ids) + self.pos_embed[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.unembed(x)


class Vocabulary:
    """The tokenizer of a compiled model: BOS and nothing else that LanguageModel asks for."""

    bos_token_id = BOS
    unk_token_id = None
    padding_side = "right"

    def decode(self, ids: Any) -> str:
        """Tokens are shown as numbers."""
        return " ".join(str(i) for i in ids)
