"""Train the SAE sets on the shipped model, with the trainer of sae-lens where it has one.

    jumprelu                  attn_out, mlp_out, resid_post of each layer; trained as BatchTopK, in its inference form
    relu, gated, topk, prolu  resid_post of each layer

They are trained on activations on documents that the model was not trained on. The position of <s> is left out.
"""

import math
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from circuits.embedded.language import documents
from circuits.embedded.recipe.plain_sae import Weights, encode, read_sae, write_sae
from circuits.embedded.recipe.prolu import train_prolu
from circuits.embedded.recipe.sites import hook_names, read_activations
from circuits.embedded.recipe.sparsity import steered_penalty
from circuits.embedded.recipe.tokenizer import encode_documents
from circuits.embedded.recipe.train_model import MODEL_NAME, load_model

SAE_SETS = ("jumprelu", "relu", "gated", "topk", "prolu")
SAE_SEED = 3
"""Seed of the documents that the SAEs are trained on."""
FIRST_LENGTH = 0.1
"""Length of the decoder rows at the start. The activations are scaled to a mean length of sqrt(d_model)."""
RARE_SHARE = 1e-5
"""Features that fire on a smaller share of the training words than this are removed after training."""


@dataclass(frozen=True)
class SaeRun:
    """An SAE to train: its set, its site, and how it is trained."""

    sae_set: str
    hook_name: str
    d_sae: int = 768
    l0: int = 18
    steps: int = 1000
    batch: int = 512
    learning_rate: float = 1e-3
    warm_up: int = 100
    decay: int = 400
    dead_after: int = 100


def sae_runs(layers: int) -> tuple[SaeRun, ...]:
    """All SAEs that ship, the default set first. SAEs with a penalty need more steps than those with a top k."""
    everywhere = [SaeRun("jumprelu", name) for name in hook_names(layers)]
    residual = hook_names(layers, ("hook_resid_post",))
    top_k = [SaeRun("topk", name) for name in residual]
    penalised = [SaeRun(kind, name, l0=20, steps=1500) for kind in ("relu", "gated", "prolu") for name in residual]
    # Shrinkage costs most right below the unembedding: there the ReLU SAE needs more steps.
    penalised[layers - 1] = replace(penalised[layers - 1], l0=22, steps=5000, decay=1500)
    return (*everywhere, *top_k, *penalised)


def train_saes(
    model_folder: Path, folder: Path, runs: tuple[SaeRun, ...], count: int = 12000, workers: int = 2
) -> None:
    """Collect the activations of `count` documents once, then train the runs, `workers` at a time.

    A run whose folder exists is skipped, so an interrupted training goes on where it stopped.
    """
    start = time.time()
    runs = tuple(run for run in runs if not (folder / run.sae_set / run.hook_name).exists())
    with tempfile.TemporaryDirectory() as temporary:
        store = Path(temporary)
        _collect(model_folder, store, sorted({run.hook_name for run in runs}), count)
        print(f"activations collected in {time.time() - start:.0f} s", flush=True)
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(_train, run, store, folder) for run in runs]
            for done, future in enumerate(as_completed(futures), start=1):
                print(f"SAE {done}/{len(runs)}: {future.result()}, {time.time() - start:.0f} s", flush=True)


def _collect(model_folder: Path, store: Path, names: list[str], count: int, batch: int = 200) -> None:
    """Write a file of float16 activations (token d_model) for each site."""
    model = load_model(model_folder)
    tokens = encode_documents(documents(count, SAE_SEED), count).long()
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    for rows in tokens.split(batch):
        for name, activation in read_activations(model, rows, names).items():
            parts[name].append(activation[:, 1:].flatten(0, 1).half())
    for name in names:
        save_file({"x": torch.cat(parts.pop(name))}, store / f"{name}.safetensors")


def _batches(x: Float[Tensor, "token d_model"], batch: int) -> Iterator[Float[Tensor, "batch d_model"]]:
    """Random batches without end; each pass over the data is shuffled anew."""
    while True:
        for rows in torch.randperm(len(x)).split(batch):
            if len(rows) == batch:
                yield x[rows].float()


def _train(run: SaeRun, store: Path, folder: Path) -> str:
    """Train and save one SAE. Returns a sentence that says what was done."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = time.time()
    with safe_open(store / f"{run.hook_name}.safetensors", "pt") as file:
        x: Tensor = file.get_tensor("x")
    batches = _batches(x, run.batch)
    target = folder / run.sae_set / f".{run.hook_name}"
    if run.sae_set == "prolu":
        weights = train_prolu(batches, run.d_sae, run.steps, run.l0, run.learning_rate, run.warm_up, run.decay)
        write_sae(target, _prolu_config(run, weights), weights)
    else:
        _train_with_sae_lens(run, batches, target)
    config, weights = _without_rare_features(*read_sae(target), x)
    write_sae(target, config, weights)
    target.rename(folder / run.sae_set / run.hook_name)
    kept = f"{config['d_sae']} of {run.d_sae} features"
    return f"{run.sae_set} {run.hook_name}, {kept} in {time.time() - start:.0f} s"


@torch.no_grad()
def _without_rare_features(
    config: dict[str, Any], weights: Weights, x: Float[Tensor, "token d_model"]
) -> tuple[dict[str, Any], Weights]:
    """The SAE without the features that (almost) never fire. A site of few dimensions needs fewer features."""
    fired = torch.zeros(config["d_sae"])
    for part in x.split(4096):
        fired += (encode(config, weights, part.float()) > 0).sum(0)
    kept = fired > RARE_SHARE * len(x)
    narrow = {
        name: value if name == "b_dec" else value[:, kept] if name == "W_enc" else value[kept]
        for name, value in weights.items()
    }
    metadata = config["metadata"] | {"trained_d_sae": config["d_sae"]}
    return config | {"d_sae": int(kept.sum()), "metadata": metadata}, narrow


def _metadata(run: SaeRun) -> dict[str, Any]:
    return {
        "model_name": MODEL_NAME,
        "hook_name": run.hook_name,
        "context_size": 64,
        "prepend_bos": True,
        "dataset_path": "generated by circuits.embedded.language",
    }


def _prolu_config(run: SaeRun, weights: dict[str, Tensor]) -> dict[str, Any]:
    return {
        "d_in": weights["W_enc"].shape[0],
        "d_sae": run.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": _metadata(run),
        "architecture": "prolu",
    }


def _train_with_sae_lens(run: SaeRun, batches: Iterator[Tensor], target: Path) -> None:
    import sae_lens
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.sae import SAEMetadata
    from sae_lens.training.sae_trainer import SAETrainer

    first = torch.cat([next(batches) for _ in range(math.ceil(run.d_sae / run.batch))])
    base = {
        "d_in": first.shape[1],
        "d_sae": run.d_sae,
        "normalize_activations": "expected_average_only_in",
        "metadata": SAEMetadata(**_metadata(run)),
    }
    penalty = {"l1_coefficient": 1.0, "l1_warm_up_steps": run.warm_up}
    kinds = {
        "jumprelu": (sae_lens.BatchTopKTrainingSAE, sae_lens.BatchTopKTrainingSAEConfig, {"k": run.l0}),
        "topk": (sae_lens.TopKTrainingSAE, sae_lens.TopKTrainingSAEConfig, {"k": run.l0}),
        "relu": (sae_lens.StandardTrainingSAE, sae_lens.StandardTrainingSAEConfig, penalty),
        "gated": (sae_lens.GatedTrainingSAE, sae_lens.GatedTrainingSAEConfig, penalty),
    }
    sae_class, config_class, own = kinds[run.sae_set]
    config = SAETrainerConfig(
        total_training_samples=run.steps * run.batch,
        train_batch_size_samples=run.batch,
        lr=run.learning_rate,
        lr_end=run.learning_rate / 100,
        lr_warm_up_steps=run.warm_up,
        lr_decay_steps=run.decay,
        dead_feature_window=run.dead_after,
        n_batches_for_norm_estimate=20,
        logger=LoggingConfig(log_to_wandb=False),
    )
    sae = sae_class(config_class(**base, **own))
    _start_from_data(sae, first)
    trainer = SAETrainer(cfg=config, sae=sae, data_provider=batches)
    if trainer.coefficient_schedulers:
        trainer.data_provider = _with_steered_penalty(trainer, batches, run)
    trainer.fit()
    if run.sae_set in ("jumprelu", "topk"):
        sae.fold_W_dec_norm()
        sae.cfg.rescale_acts_by_decoder_norm = False
    sae.save_inference_model(target)


@torch.no_grad()
def _start_from_data(sae: Any, first: Float[Tensor, "batch d_model"]) -> None:
    """Start with b_dec at the mean and directions at activations: random directions die at a site of few dimensions."""
    x = first * math.sqrt(first.shape[1]) / first.norm(dim=1).mean()
    sae.b_dec.copy_(x.mean(0))
    directions = torch.nn.functional.normalize(x[: len(sae.W_dec)] - sae.b_dec, dim=1)
    sae.W_dec.copy_(FIRST_LENGTH * directions)
    sae.W_enc.copy_(sae.W_dec.T)


def _with_steered_penalty(trainer: Any, batches: Iterator[Tensor], run: SaeRun) -> Iterator[Tensor]:
    """The trainer's batches. Before every fourth one, L0 is measured and the trainer's l1 coefficient is steered."""
    (schedule,) = trainer.coefficient_schedulers.values()
    for x in batches:
        if trainer.n_training_steps % 4 == 0 and trainer.n_training_steps > 0:
            with torch.no_grad():
                f = trainer.sae.encode(trainer.activation_scaler(x[:512]))
            l0 = float((f > 0).sum(1).float().mean())
            for _ in range(4):
                schedule.final_value = steered_penalty(
                    schedule.final_value, l0, run.l0, trainer.n_training_steps, run.warm_up, run.steps
                )
        yield x
