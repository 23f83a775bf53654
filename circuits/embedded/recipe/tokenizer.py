"""The word tokenizer: each word or mark is one token. <s> goes first when special tokens are asked for."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import torch
from jaxtyping import Int
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from circuits.embedded.language import DOCUMENT_WORDS
from circuits.tasks.lexicon import vocabulary

BOS, UNKNOWN, PAD = "<s>", "<unk>", "<pad>"


def word_ids() -> dict[str, int]:
    """The id of each token. The special tokens come first."""
    return {word: i for i, word in enumerate((PAD, BOS, UNKNOWN, *vocabulary()))}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that splits at spaces and around punctuation. It does not lowercase, strip or normalise anything."""
    ids = word_ids()
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, ids[BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=BOS,
        unk_token=UNKNOWN,
        pad_token=PAD,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )


def save_tokenizer(folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    build_tokenizer().save_pretrained(folder)


def encode_documents(texts: Iterable[str], count: int) -> Int[Tensor, "document pos"]:
    """The first `count` documents as token ids, with <s> first. All have the same length."""
    ids = word_ids()
    rows = torch.empty(count, DOCUMENT_WORDS + 1, dtype=torch.int16)
    for row, text in zip(rows, islice(texts, count), strict=True):
        row[:] = torch.tensor([ids[BOS], *(ids[word] for word in text.split())], dtype=torch.int16)
    return rows
