"""What the methods are measured on: a model with its SAEs, prompt pairs, and the patch values of its nodes.

embedded   the model that ships with the project, 12 JumpReLU SAEs, one agreement pair, counterfactual patches
random     a GPT-NeoX or GPT-2 with random weights, and SAEs with random directions whose thresholds give a chosen L0 on
           4 prompts of random tokens; the patch value is zero, so the nodes are the active features and the errors
"""

import tempfile
from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM, GPT2Config, GPTNeoXConfig, PretrainedConfig

from attribution import (
    SAE,
    JumpReLU,
    LanguageModel,
    PatchValue,
    PromptPair,
    PromptPairs,
    SplicedModel,
    counterfactual,
    zero,
)
from attribution.models.hooks import SiteFunction, logits_with
from circuits import load_model, load_saes, prompt_pairs, splice


@dataclass(frozen=True)
class Case:
    """A model, pairs and a patch value to measure on."""

    name: str
    spliced: SplicedModel
    pairs: PromptPairs
    patch_value: PatchValue

    @property
    def device(self) -> str:
        """The kind of device that it runs on: `cpu` or `cuda`."""
        return self.spliced.model.device.type

    def first_pair(self) -> "Case":
        """The same case with its first pair alone."""
        return Case(self.name, self.spliced, self.pairs.head(1), self.patch_value)


@dataclass(frozen=True)
class Sizes:
    """Sizes of a random model, its SAEs and its prompts, and their dtype and device.

    Attributes:
        parts: the hooks of every layer at which an SAE is spliced in.
        active: mean number of active features at a position.
        prompts, tokens: number of pairs, and of tokens in each prompt.
    """

    architecture: str = "GPT-NeoX"
    layers: int = 6
    d_model: int = 512
    heads: int = 8
    vocabulary: int = 50_304
    parts: tuple[str, ...] = ("hook_attn_out", "hook_mlp_out", "hook_resid_post")
    d_sae: int = 4_096
    active: int = 42
    prompts: int = 4
    tokens: int = 12
    dtype: torch.dtype = torch.float32
    device: str = "cpu"

    @property
    def name(self) -> str:
        """What reports call the case."""
        dtype = "" if self.dtype == torch.float32 else f", {str(self.dtype).removeprefix('torch.')}"
        return (
            f"{self.architecture}, {self.layers} layers, d_model {self.d_model}, vocabulary {self.vocabulary:,}{dtype}"
        )


NEOX = Sizes()
GPT2_SMALL = Sizes("GPT-2", 12, 768, 12, 50_257, ("hook_resid_post",), 24_576)


def embedded_case() -> Case:
    """The embedded model and all its SAEs."""
    model = load_model()
    pairs = prompt_pairs("agreement", model, examples=1)
    return Case("embedded model", splice(model, load_saes()), pairs, counterfactual)


def random_case(sizes: Sizes) -> Case:
    """A random model with random SAEs. It is the same every time."""
    model, generator = _random_model(sizes), torch.Generator().manual_seed(0)
    pairs = PromptPairs(tuple(_random_pair(sizes, generator) for _ in range(sizes.prompts)))
    saes = _random_saes(model, pairs, sizes, generator)
    return Case(sizes.name, SplicedModel(model, saes, dtype=sizes.dtype), pairs, zero)


def _random_model(sizes: Sizes) -> LanguageModel:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        AutoModelForCausalLM.from_config(_config(sizes)).save_pretrained(folder)
        return LanguageModel.load(folder, device=sizes.device, dtype=sizes.dtype)


def _config(sizes: Sizes) -> PretrainedConfig:
    if sizes.architecture == "GPT-2":
        return GPT2Config(
            vocab_size=sizes.vocabulary,
            n_embd=sizes.d_model,
            n_layer=sizes.layers,
            n_head=sizes.heads,
            n_positions=1024,
        )
    return GPTNeoXConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.d_model,
        intermediate_size=4 * sizes.d_model,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        max_position_embeddings=2048,
    )


def _random_pair(sizes: Sizes, generator: torch.Generator) -> PromptPair:
    """A pair of random tokens. None is 0, which opens a text in this architecture's default configuration."""
    ids = torch.randint(1, sizes.vocabulary, (2 * sizes.tokens + 2,), generator=generator).tolist()
    return PromptPair(tuple(ids[: sizes.tokens]), tuple(ids[sizes.tokens : -2]), ids[-2], ids[-1])


def _random_saes(model: LanguageModel, pairs: PromptPairs, sizes: Sizes, generator: torch.Generator) -> list[SAE]:
    sites = [f"blocks.{layer}.{part}" for layer in range(sizes.layers) for part in sizes.parts]
    seen: dict[str, torch.Tensor] = {}

    def keeping(site: str) -> SiteFunction:
        def function(x: torch.Tensor) -> torch.Tensor:
            seen[site] = x.flatten(0, 1).cpu().float()
            return x

        return function

    with torch.no_grad():
        logits_with(model, pairs.batch(device=model.device).clean_ids, {site: keeping(site) for site in sites})
    return [_random_sae(site, seen[site], sizes, generator) for site in sites]


def _random_sae(site: str, x: torch.Tensor, sizes: Sizes, generator: torch.Generator) -> JumpReLU:
    """An SAE with unit directions that it both reads and writes. Its threshold leaves `active` features on average."""
    W_enc = torch.randn(sizes.d_model, sizes.d_sae, generator=generator)
    W_enc /= W_enc.norm(dim=0)
    threshold = (x @ W_enc).flatten().topk(sizes.active * len(x) + 1).values[-1]
    return JumpReLU(
        W_enc=W_enc,
        W_dec=W_enc.T.contiguous(),
        b_enc=torch.zeros(sizes.d_sae),
        b_dec=torch.zeros(sizes.d_model),
        threshold=threshold.expand(sizes.d_sae).clone(),
        site=site,
    )
