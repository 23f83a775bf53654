"""Judge the shipped weights: the model on the tasks, and the SAEs on text that neither was trained on.

    L0            mean number of active features
    FVU           sum |x - x_hat|^2 / sum |x - mean x|^2
    CE recovered  (CE_zero - CE_spliced) / (CE_zero - CE_clean), where "zero" sets the site's activation to 0
    CE increase   CE_spliced - CE_clean, in nats per word
    dead, dense   share of features that never fire, and of those that fire on more than 10% of the words

The position of <s> is left as it is throughout. Writes quality.json and README.md.
"""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import LlamaForCausalLM

from circuits.embedded.language import documents
from circuits.embedded.recipe.accuracy import accuracy, bigram_scores, model_scores, nearest_scores
from circuits.embedded.recipe.plain_sae import Weights, decode, encode, read_sae
from circuits.embedded.recipe.report import write_readme
from circuits.embedded.recipe.sites import activation_replaced, hook_names, read_activations
from circuits.embedded.recipe.tokenizer import encode_documents
from circuits.embedded.recipe.train_model import load_model
from circuits.embedded.recipe.train_saes import SAE_SETS
from circuits.tasks.lexicon import vocabulary
from circuits.tasks.templates import SPLITS, TASKS, text_pairs

EVALUATION_SEED = 2
"""Seed of documents that neither the model nor the SAEs saw."""
PAIR_SEED = 11


def evaluate(folder: Path, document_count: int = 1000, pair_count: int = 500) -> dict[str, object]:
    """Judge the model and the SAEs in a folder. Writes its README.md and quality.json; returns the latter's content."""
    model = load_model(folder / "model")
    tokens = encode_documents(documents(document_count, EVALUATION_SEED), document_count).long()
    quality: dict[str, object] = {
        "schema_version": 1,
        "held_out_words": tokens[:, 1:].numel(),
        "cross_entropy": round(_cross_entropy(model, tokens), 4),
        "pairs_per_cell": pair_count,
        "tasks": _tasks(model, pair_count),
        "saes": _saes(model, tokens, folder / "saes"),
    }
    (folder / "quality.json").write_text(json.dumps(quality, indent=1) + "\n")
    write_readme(folder / "README.md", quality, len(vocabulary()))
    return quality


def _tasks(model: LlamaForCausalLM, count: int) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Accuracies by task, split and judge. "templates" holds the model's share of pairs right on both texts."""
    judges = {
        "model": model_scores(model),
        "bigram": bigram_scores(documents(4000, EVALUATION_SEED)),
        "nearest cue": nearest_scores,
    }
    result: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for task in TASKS:
        result[task] = {}
        for split in SPLITS:
            pairs = text_pairs(task, split, count, PAIR_SEED)
            row = {name: accuracy(pairs, scores).as_json() for name, scores in judges.items()}
            row["templates"] = {
                template: accuracy([p for p in pairs if p.template == template], judges["model"]).as_json()["both"]
                for template in sorted({p.template for p in pairs})
            }
            result[task][split] = row
    return result


def _saes(model: LlamaForCausalLM, tokens: Int[Tensor, "document pos"], folder: Path) -> list[dict[str, object]]:
    names = hook_names(model.config.num_hidden_layers)
    clean = _cross_entropy(model, tokens)
    rows: list[dict[str, object]] = []
    for name in names:
        parts = (read_activations(model, part, [name])[name] for part in tokens.split(100))
        x = torch.cat([part[:, 1:].flatten(0, 1) for part in parts])
        with activation_replaced(model, name, _after_bos(torch.zeros_like)):
            zero = _cross_entropy(model, tokens)
        for sae_set in SAE_SETS:
            if (folder / sae_set / name).is_dir():
                row = _judge(model, tokens, x, name, folder / sae_set / name, clean, zero)
                rows.append({"set": sae_set, "hook_name": name, **row})
    return sorted(rows, key=lambda row: SAE_SETS.index(str(row["set"])))


def _judge(
    model: LlamaForCausalLM,
    tokens: Int[Tensor, "document pos"],
    x: Float[Tensor, "token d_model"],
    name: str,
    folder: Path,
    clean: float,
    zero: float,
) -> dict[str, float]:
    config, weights = read_sae(folder)
    active = torch.zeros(config["d_sae"])
    error = 0.0
    for part in x.split(4096):
        f = encode(config, weights, part)
        active += (f > 0).sum(0)
        error += float((decode(weights, f) - part).double().square().sum())
    with activation_replaced(model, name, _after_bos(_reconstruct(config, weights))):
        spliced = _cross_entropy(model, tokens)
    share = active / len(x)
    row = {
        "l0": float(share.sum()),
        "fvu": error / float((x - x.mean(0)).double().square().sum()),
        "ce_recovered": (zero - spliced) / (zero - clean),
        "ce_increase": spliced - clean,
        "dead": float((active == 0).float().mean()),
        "dense": float((share > 0.1).float().mean()),
    }
    return {"d_sae": config["d_sae"]} | {key: round(value, 4) for key, value in row.items()}


def _reconstruct(config: dict[str, object], weights: Weights) -> Callable[[Tensor], Tensor]:
    return lambda x: decode(weights, encode(config, weights, x))


def _after_bos(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.cat((x[:, :1], change(x[:, 1:])), dim=1)


@torch.no_grad()
def _cross_entropy(model: LlamaForCausalLM, tokens: Int[Tensor, "document pos"], batch: int = 100) -> float:
    """The mean over all words, in nats."""
    total = 0.0
    for part in tokens.split(batch):
        total += float(model(input_ids=part, labels=part).loss) * len(part)
    return total / len(tokens)
