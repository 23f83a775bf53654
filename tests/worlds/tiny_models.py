"""Tiny random language models in float64, made in memory, and SAEs of every kind whose gates flip on them."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from attribution.dictionaries import SAE, BatchTopK, Gated, JumpReLU, ProLU, ReLU, TopK
from attribution.models.hooks import logits_with
from attribution.models.language_model import LanguageModel
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.spliced_model import SplicedModel
from tests.worlds.hooked_blocks import HookedBlocks

try:
    from transformer_lens import HookedTransformer, HookedTransformerConfig
except ImportError:  # transformer-lens 4 has the bridge only
    HookedTransformer = HookedTransformerConfig = None

BOS, UNKNOWN, VOCABULARY, WIDTH, HEADS = 0, 1, 24, 16, 4

PAIRS = PromptPairs(
    (
        PromptPair((BOS, 5, 9, 3), (BOS, 5, 12, 3), 4, 7),
        PromptPair((BOS, 7, 8, 2, 11, 4), (BOS, 7, 8, 20, 15, 4), 9, 2),
        PromptPair((5, 6, 2), (14, 6, 2), 3, 13),
    )
)
"""Unequal lengths in one call; the last pair has no BOS and differs at its first position."""

BRIDGES = ("llama", "gpt2", "neox")
HOOKED = "hooked_transformer"
HAS_HOOKED = HookedTransformer is not None
NO_HOOKED = "transformer-lens 4 has no HookedTransformer"

JUMPRELU_SITES: dict[str, type[SAE]] = dict.fromkeys(
    (
        "blocks.0.hook_attn_out",
        "blocks.0.hook_mlp_out",
        "blocks.0.hook_resid_post",
        "blocks.1.attn.hook_z",
        "blocks.1.hook_mlp_out",
    ),
    JumpReLU,
)


class NoBOS:
    """The tokenizer of a model without BOS."""

    bos_token_id = None
    unk_token_id = None
    padding_side = "right"

    def decode(self, ids: Sequence[int]) -> str:
        """Tokens are shown as numbers."""
        return " ".join(f"w{i}" for i in ids)


class OnlyBOS(NoBOS):
    """A tokenizer that only knows its BOS."""

    bos_token_id = BOS


@dataclass(frozen=True)
class World:
    """A model and SAEs, spliced in float64."""

    model: LanguageModel
    saes: Mapping[str, SAE]
    splice_bos: bool = False

    @cached_property
    def spliced(self) -> SplicedModel:
        return SplicedModel(self.model, self.saes, splice_bos=self.splice_bos, dtype=torch.float64)


def save_hugging_face_folder(folder: Path, kind: str, layers: int = 2, scale: float = 0.3) -> None:
    """A random model of a kind in `BRIDGES` with its tokenizer: words `w0` to `w21`, BOS 0, unknown 1."""
    shared: dict[str, Any] = {"vocab_size": VOCABULARY, "initializer_range": scale, "bos_token_id": BOS}
    size: dict[str, Any] = {
        "hidden_size": WIDTH,
        "intermediate_size": 24,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "max_position_embeddings": 32,
    }
    config = {
        "llama": lambda: LlamaConfig(**shared, **size, num_key_value_heads=2),
        "gpt2": lambda: GPT2Config(**shared, n_embd=WIDTH, n_layer=layers, n_head=HEADS, n_positions=32),
        "neox": lambda: GPTNeoXConfig(**shared, **size, use_parallel_residual=True),
    }[kind]()
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).double().save_pretrained(folder)
    words = ["<bos>", "<unk>", *(f"w{i}" for i in range(VOCABULARY - 2))]
    rule = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    rule.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=rule, bos_token="<bos>", unk_token="<unk>", pad_token="<unk>", eos_token="<bos>"
    ).save_pretrained(folder)


def bridge(kind: str, layers: int = 2, scale: float = 0.3) -> LanguageModel:
    """A TransformerBridge on a random Hugging Face model, loaded from a folder as a user would."""
    with tempfile.TemporaryDirectory() as folder:
        save_hugging_face_folder(Path(folder), kind, layers, scale)
        return LanguageModel.load(folder, dtype=torch.float64)


def hooked_transformer(layers: int = 2, scale: float = 0.3) -> LanguageModel:
    """A random HookedTransformer (transformer-lens 3)."""
    assert HookedTransformer is not None
    assert HookedTransformerConfig is not None
    config = HookedTransformerConfig(
        n_layers=layers,
        d_model=WIDTH,
        n_ctx=32,
        d_head=WIDTH // HEADS,
        n_heads=HEADS,
        d_mlp=24,
        d_vocab=VOCABULARY,
        act_fn="gelu",
        normalization_type="LN",
        dtype=torch.float64,
        initializer_range=scale,
        seed=0,
    )
    return LanguageModel(HookedTransformer(config), OnlyBOS())


def tiny_model(kind: str) -> LanguageModel:
    return hooked_transformer() if kind == HOOKED else bridge(kind)


def activations(model: LanguageModel, sites: Sequence[str]) -> dict[str, Tensor]:
    """Activations [position, width] of random prompts at some sites, BOS left out."""
    ids = torch.randint(2, VOCABULARY, (8, 6), generator=torch.Generator().manual_seed(1))
    ids[:, 0] = BOS
    seen: dict[str, Tensor] = {}

    def keeper(site: str) -> Callable[[Tensor], Tensor]:
        def keep(x: Tensor) -> Tensor:
            seen[site] = x[:, 1:].flatten(0, 1).double()
            return x

        return keep

    with torch.no_grad(), model.frozen():
        logits_with(model, ids, {site: keeper(site) for site in sites})
    return seen


def fitting_sae(
    kind: type[SAE], x: Tensor, site: str, *, d_sae: int = 12, seed: int = 0, normalisation: Any = "none"
) -> SAE:
    """A random SAE whose features are each active on about half of the activations `x`."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    width = x.shape[1]
    size = 1.0 if normalisation != "none" else float(x.std())
    W_enc, b_dec = draw(width, d_sae) / (size * width**0.5), 0.2 * size * draw(width)
    if normalisation == "layer_norm":
        x = (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)
    elif normalisation == "constant_norm_rescale":
        x = x * (width**0.5 / x.norm(dim=-1, keepdim=True))
    middle = _between((x - b_dec) @ W_enc)
    shared: dict[str, Any] = {
        "W_enc": W_enc,
        "W_dec": 0.5 * size * draw(d_sae, width) / d_sae**0.5,
        "b_dec": b_dec,
        "site": site,
        "apply_b_dec_to_input": True,
        "normalisation": normalisation,
    }
    if kind is JumpReLU:
        return JumpReLU(**shared, b_enc=0.4 - middle, threshold=0.3 + 0.2 * draw(d_sae).abs())
    if kind is BatchTopK:
        return BatchTopK(**shared, b_enc=0.4 - middle, threshold=torch.full((d_sae,), 0.4).double())
    if kind is Gated:
        return Gated(**shared, b_gate=-middle, b_mag=0.3 + 0 * middle, r_mag=0.3 * draw(d_sae))
    if kind is ProLU:
        return ProLU(**shared, b_enc=-middle.clamp(min=0.05))
    if kind is TopK:
        return TopK(**shared, b_enc=0.2 * draw(d_sae), k=4)
    return ReLU(**shared, b_enc=-middle)


def _between(seen: Tensor) -> Tensor:
    """About the median of each column: in the widest gap of the middle third, away from all values seen."""
    ordered = seen.sort(0).values
    middle = ordered[len(ordered) // 3 : -(len(ordered) // 3)]
    widest = middle.diff(dim=0).argmax(0, keepdim=True)
    return ((middle.gather(0, widest) + middle.gather(0, widest + 1)) / 2)[0]


def saes_on(
    model: LanguageModel, sites: Mapping[str, type[SAE]], normalisations: Mapping[str, Any] | None = None
) -> dict[str, SAE]:
    """One fitting SAE for each site."""
    seen = activations(model, list(sites))
    norms = normalisations or {}
    return {
        site: fitting_sae(kind, seen[site], site, seed=seed, normalisation=norms.get(site, "none"))
        for seed, (site, kind) in enumerate(sites.items())
    }


class PlainBlock(nn.Module):
    """x + fixed causal mixing + MLP with the given activation function: affine if that function is."""

    def __init__(self, bend: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.bend = bend
        self.hook_resid_pre, self.hook_attn_out = HookPoint(), HookPoint()
        self.hook_mlp_out, self.hook_resid_post = HookPoint(), HookPoint()
        self.mix = nn.Parameter(torch.rand(8, 8).tril())
        self.value, self.up, self.down = (nn.Parameter(0.2 * torch.randn(WIDTH, WIDTH)) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.hook_resid_pre(x)
        length = x.shape[1]
        mixed = self.mix[:length, :length] @ x @ self.value
        middle = x + self.hook_attn_out(mixed)
        return self.hook_resid_post(middle + self.hook_mlp_out(self.bend(middle @ self.up) @ self.down))


class PlainModel(HookedBlocks):
    """What LanguageModel asks of a model and nothing else; affine in its embeddings with an affine `bend`."""

    def __init__(self, bend: Callable[[Tensor], Tensor], layers: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList(PlainBlock(bend) for _ in range(layers))
        self.unembed = nn.Linear(WIDTH, VOCABULARY)
        self.cfg = SimpleNamespace(d_model=WIDTH, d_vocab=VOCABULARY, model_name="plain")
        self.double()
        self.name_hooks()

    def run_with_hooks(self, ids: Tensor, fwd_hooks: Sequence[tuple[str, Any]]) -> Tensor:
        """As TransformerLens models have it."""
        handles = [
            self.hook_dict[name].register_forward_hook(lambda _m, _i, x, h=hook: h(x)) for name, hook in fwd_hooks
        ]
        try:
            return self(ids)
        finally:
            for handle in handles:
                handle.remove()


PLAIN_SITES = tuple(f"blocks.{b}.hook_{s}" for b in (0, 1) for s in ("attn_out", "mlp_out", "resid_post"))


def plain_world(bend: Callable[[Tensor], Tensor], *, always_open: bool) -> World:
    """The plain model with an SAE at every site: ReLU features that are always active, or JumpReLU."""
    model = LanguageModel(PlainModel(bend), OnlyBOS())
    saes: dict[str, SAE] = {}
    generator = torch.Generator().manual_seed(3)
    for site in PLAIN_SITES:
        shared: dict[str, Any] = {
            "W_enc": 0.1 * torch.randn(WIDTH, 12, generator=generator).double(),
            "W_dec": 0.2 * torch.randn(12, WIDTH, generator=generator).double(),
            "b_dec": torch.zeros(WIDTH).double(),
            "site": site,
        }
        if always_open:
            saes[site] = ReLU(**shared, b_enc=torch.full((12,), 100.0).double())
        else:
            saes[site] = JumpReLU(
                **shared, b_enc=torch.full((12,), 0.3).double(), threshold=torch.full((12,), 0.3).double()
            )
    return World(model, saes)
