"""Train the embedded language model: a Llama of 4 layers, on generated documents, each seen once.

    loss = mean cross-entropy of the next word; AdamW, linear warm-up, cosine decay to 0

The weights are shipped rounded to float16, and are evaluated after rounding.
"""

import copy
import json
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from circuits.embedded.language import documents
from circuits.embedded.recipe.accuracy import accuracy, model_scores
from circuits.embedded.recipe.tokenizer import BOS, PAD, encode_documents, save_tokenizer, word_ids
from circuits.tasks.templates import TASKS, text_pairs

MODEL_NAME = "jumpwire-embedded"
TRAIN_SEED = 1
WARM_UP_STEPS = 200


def model_config() -> LlamaConfig:
    """4 layers, width 128, 4 heads, rotary positions, untied embeddings."""
    ids = word_ids()
    return LlamaConfig(
        vocab_size=len(ids),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        bos_token_id=ids[BOS],
        eos_token_id=ids[BOS],
        pad_token_id=ids[PAD],
    )


def train_model(
    folder: Path, steps: int = 5000, batch: int = 32, learning_rate: float = 2e-3, log_every: int = 250
) -> None:
    """Train the model. Every `log_every` steps the folder is written and the accuracy on held-out pairs is printed."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(model_config())
    decayed = [p for p in model.parameters() if p.dim() > 1]
    other = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": other, "weight_decay": 0.0}],
        lr=learning_rate,
        betas=(0.9, 0.98),
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share_of_rate(step, steps))
    began, running = time.time(), 0.0
    for step, tokens in enumerate(_batches(steps, batch), start=1):
        loss = model(input_ids=tokens, labels=tokens).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        running += loss.item() / log_every
        if step % log_every == 0 or step == steps:
            right = ", ".join(f"{task} {_both_right(model, task):.2f}" for task in TASKS)
            print(f"step {step}/{steps} loss {running:.4f}, {right}, {time.time() - began:.0f} s", flush=True)
            running = 0.0
            save_model(model, folder)


def _both_right(model: LlamaForCausalLM, task: str) -> float:
    return accuracy(text_pairs(task, "held_out", 128, seed=7), model_scores(model)).both


def _share_of_rate(step: int, steps: int) -> float:
    if step < WARM_UP_STEPS:
        return (step + 1) / WARM_UP_STEPS
    return 0.5 * (1 + math.cos(math.pi * (step - WARM_UP_STEPS) / (steps - WARM_UP_STEPS)))


def _batches(steps: int, batch: int) -> Iterator[Int[Tensor, "batch pos"]]:
    texts = documents(steps * batch, TRAIN_SEED)
    for _ in range(steps):
        yield encode_documents(texts, batch).long()


def save_model(model: LlamaForCausalLM, folder: Path) -> None:
    """Write the weights in float16. The config says float32, so that loading gives float32, and the model's name."""
    temporary = folder.with_name(folder.name + ".writing")
    copy.deepcopy(model).half().save_pretrained(temporary)
    config = copy.deepcopy(model.config)
    config.dtype = torch.float32
    config.save_pretrained(temporary)
    file = temporary / "config.json"
    named = {"_name_or_path": MODEL_NAME, **json.loads(file.read_text())}  # save_pretrained leaves the name out
    file.write_text(json.dumps(named, indent=2, sort_keys=True) + "\n")
    (temporary / "model.safetensors").chmod(0o644)
    save_tokenizer(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def load_model(folder: Path) -> LlamaForCausalLM:
    """The shipped weights in float32, in evaluation mode."""
    return LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
