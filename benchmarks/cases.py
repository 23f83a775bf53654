"""What the methods are measured on: a model with its SAEs, prompt pairs, and the patch values of its nodes.

embedded   the model that ships with the project, 12 JumpReLU SAEs, one agreement pair, counterfactual patches
neox       a GPT-NeoX with random weights, SAEs with random directions at attn_out, mlp_out and resid_post of every
           layer, thresholds such that L0 is as asked for on these prompts, 4 prompts of random tokens; patch value
           zero, so that the nodes are the active features and the errors
"""

import tempfile
from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM, GPTNeoXConfig

from attribution.hooks import SiteFunction, logits_with
from attribution.language_model import LanguageModel
from attribution.patch_values import PatchValue, counterfactual, zero
from attribution.prompt_pairs import PromptPair, PromptPairs
from attribution.saes import SAE, JumpReLU
from attribution.splice import SplicedModel
from circuits.embedded.load import embedded_model, embedded_saes
from circuits.tasks.prompts import prompt_pairs


@dataclass(frozen=True)
class Case:
    """One thing to measure on."""

    name: str
    spliced: SplicedModel
    pairs: PromptPairs
    patch_value: PatchValue

    def first_pair(self) -> "Case":
        """The same with its first pair alone."""
        return Case(self.name, self.spliced, self.pairs.head(1), self.patch_value)


@dataclass(frozen=True)
class Sizes:
    """Of a random model, its SAEs and its prompts."""

    layers: int = 6
    d_model: int = 512
    heads: int = 8
    vocabulary: int = 50_304
    d_sae: int = 4_096
    active: int = 42
    prompts: int = 4
    tokens: int = 12


def embedded_case() -> Case:
    """The embedded model and all its SAEs."""
    model = embedded_model()
    pairs = prompt_pairs("agreement", "train", 1, 0, model)
    return Case("embedded model", SplicedModel(model, embedded_saes()), pairs, counterfactual)


def neox_case(sizes: Sizes = Sizes()) -> Case:
    """A random GPT-NeoX with random SAEs; the same every time."""
    model, generator = _random_model(sizes), torch.Generator().manual_seed(0)
    pairs = PromptPairs(tuple(_random_pair(sizes, generator) for _ in range(sizes.prompts)))
    saes = _random_saes(model, pairs, sizes, generator)
    name = f"GPT-NeoX, {sizes.layers} layers, d_model {sizes.d_model}, vocabulary {sizes.vocabulary:,}"
    return Case(name, SplicedModel(model, saes), pairs, zero)


def _random_model(sizes: Sizes) -> LanguageModel:
    config = GPTNeoXConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.d_model,
        intermediate_size=4 * sizes.d_model,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        max_position_embeddings=2048,
    )
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        return LanguageModel.load(folder)


def _random_pair(sizes: Sizes, generator: torch.Generator) -> PromptPair:
    """Tokens from 1 on: 0 opens a text in this architecture's default configuration."""
    ids = torch.randint(1, sizes.vocabulary, (2 * sizes.tokens + 2,), generator=generator).tolist()
    return PromptPair(tuple(ids[: sizes.tokens]), tuple(ids[sizes.tokens : -2]), ids[-2], ids[-1])


def _random_saes(model: LanguageModel, pairs: PromptPairs, sizes: Sizes, generator: torch.Generator) -> list[SAE]:
    parts = ("hook_attn_out", "hook_mlp_out", "hook_resid_post")
    sites = [f"blocks.{layer}.{part}" for layer in range(sizes.layers) for part in parts]
    seen: dict[str, torch.Tensor] = {}

    def keeping(site: str) -> SiteFunction:
        def function(x: torch.Tensor) -> torch.Tensor:
            seen[site] = x.flatten(0, 1)
            return x

        return function

    with torch.no_grad():
        logits_with(model, pairs.batch().clean_ids, {site: keeping(site) for site in sites})
    return [_random_sae(site, seen[site], sizes, generator) for site in sites]


def _random_sae(site: str, x: torch.Tensor, sizes: Sizes, generator: torch.Generator) -> JumpReLU:
    """Unit directions, the same in and out, and one threshold that leaves `active` features a position on average."""
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
