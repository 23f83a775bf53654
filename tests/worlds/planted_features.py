"""A hand-made model in which everything about one feature is known: "a question with which has begun".

    block 0, head 0   reads the token `which` wherever it stands before, and writes 1 along FLAG if there is one
    block 0, head 1   reads the token itself, and copies it along COPY
    block 1, MLP      writes 2 · relu(FLAG − 0.5) along ECHO
    unembedding       4 · FLAG on `?`, 1 · ECHO on `which`

SAEs at the attention output of block 0, the MLP output of block 1 and both residual streams have one feature for each
dimension.
"""

from types import SimpleNamespace
from typing import Any, Final

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint
from transformers import PreTrainedTokenizerFast

from attribution import SAE, JumpReLU, LanguageModel, SplicedModel
from tests.worlds.hooked_blocks import HookedBlocks

WORDS: Final = ("<s>", "<unk>", "which", "?", "cat", "dog", "runs", "(", ")")
FLAG, COPY, ECHO = (len(WORDS) + n for n in range(3))
WIDTH: Final = len(WORDS) + 3
ATTENTION, MLP, MIDDLE, END = (
    "blocks.0.hook_attn_out",
    "blocks.1.hook_mlp_out",
    "blocks.0.hook_resid_post",
    "blocks.1.hook_resid_post",
)
TEXTS: Final = (
    "which cat runs ?",
    "cat runs dog",
    "dog which runs cat ?",
    "( cat ) dog runs",
    "runs which dog",
    "dog ( runs cat )",
)
DOCUMENTS: Final = TEXTS * 4


class Attention(nn.Module):
    """Two heads with keys, values and outputs set by hand; head 0 is all but certain of `which`."""

    def __init__(self, active: bool) -> None:
        super().__init__()
        self.hook_pattern, self.hook_v = HookPoint(), HookPoint()
        self.W_O = nn.Parameter(torch.zeros(2, 2, WIDTH))
        if active:
            self.W_O.data[0, 0, FLAG] = 1
            self.W_O.data[1, 0, COPY] = 1

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[1]
        is_which = x[..., WORDS.index("which")]
        at_start = x[..., WORDS.index("<s>")]
        to_which = (20 * is_which + 10 * at_start)[:, None, :].expand(-1, length, -1)
        to_self = 40 * torch.eye(length).to(x).expand_as(to_which)
        mask = torch.full((length, length), -torch.inf).to(x).triu(1)
        pattern = self.hook_pattern((torch.stack([to_which, to_self], 1) + mask).softmax(-1))
        values = torch.zeros(*x.shape[:2], 2, 2).to(x)
        values[..., 0, 0], values[..., 1, 0] = is_which, x[..., WORDS.index("cat")]
        mixed = torch.einsum("rhds,rshe->rdhe", pattern, self.hook_v(values))
        return torch.einsum("rdhe,hew->rdw", mixed, self.W_O)


class Block(nn.Module):
    """x + attention + MLP, of which each block has one."""

    def __init__(self, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.attn = Attention(layer == 0)
        self.hook_resid_pre, self.hook_attn_out = HookPoint(), HookPoint()
        self.hook_mlp_out, self.hook_resid_post = HookPoint(), HookPoint()

    def forward(self, x: Tensor) -> Tensor:
        x = self.hook_resid_pre(x)
        x = x + self.hook_attn_out(self.attn(x))
        written = torch.zeros_like(x)
        if self.layer == 1:
            written[..., ECHO] = 2 * (x[..., FLAG] - 0.5).relu()
        return self.hook_resid_post(x + self.hook_mlp_out(written))


class Planted(HookedBlocks):
    """What LanguageModel asks of a model."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding.from_pretrained(torch.eye(len(WORDS), WIDTH))
        self.blocks = nn.ModuleList(Block(layer) for layer in range(2))
        self.unembed = nn.Linear(WIDTH, len(WORDS), bias=False)
        with torch.no_grad():
            self.unembed.weight.zero_()
            self.unembed.weight[WORDS.index("?"), FLAG] = 4
            self.unembed.weight[WORDS.index("which"), ECHO] = 1
        self.cfg = SimpleNamespace(d_model=WIDTH, d_vocab=len(WORDS), n_ctx=16, model_name="planted")
        self.double()
        self.name_hooks()


def planted() -> SplicedModel:
    """The model with its SAEs. A feature is active from 0.4 on along its dimension."""
    rule = Tokenizer(WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<unk>"))
    rule.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=rule, bos_token="<s>", unk_token="<unk>")
    model = LanguageModel(Planted(), tokenizer, name="planted", bos="always")
    return SplicedModel(model, [_basis(site) for site in (ATTENTION, MIDDLE, MLP, END)], dtype=torch.float64)


def _basis(site: str) -> SAE:
    eye = torch.eye(WIDTH, dtype=torch.float64)
    zero: Any = torch.zeros(WIDTH, dtype=torch.float64)
    return JumpReLU(W_enc=eye, W_dec=eye, b_enc=zero, b_dec=zero, threshold=zero + 0.4, site=site)
