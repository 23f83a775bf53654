"""Tiny tokenizers made on the spot, one of every kind that models come with."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE, WordLevel
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

END: Final = "<|endoftext|>"
TEXTS: Final = (
    "the cat sat on the mat",
    "The keys to the cabinet are here",
    "the cats were on the mats, he said to her",
)


def words(bos: str | None = "<s>", *, texts: Sequence[str] = TEXTS, **more: Any) -> PreTrainedTokenizerFast:
    """Whole words and marks; spaces only part them. It adds nothing by itself."""
    whole = pre_tokenizers.Whitespace()
    known = ["<unk>", "<s>", END, *dict.fromkeys(word for text in texts for word, _ in whole.pre_tokenize_str(text))]
    rule = Tokenizer(WordLevel({word: n for n, word in enumerate(known)}, unk_token="<unk>"))
    rule.pre_tokenizer = whole
    return PreTrainedTokenizerFast(tokenizer_object=rule, bos_token=bos, unk_token="<unk>", eos_token=END, **more)


def byte_level(
    bos: str | None = None, *, opens: bool = False, texts: Sequence[str] = TEXTS, size: int = 340
) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as GPT-2 and Qwen have it; with `opens` it puts BOS in front by itself."""
    rule = Tokenizer(BPE())
    rule.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    rule.decoder = decoders.ByteLevel()
    special = [END] if bos in (None, END) else [END, bos]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    rule.train_from_iterator([*texts] * 9, trainer)
    if opens and bos is not None:
        rule.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, rule.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=rule, bos_token=bos, eos_token=END, unk_token=None)


def byte_fallback(*, texts: Sequence[str] = TEXTS, size: int = 340) -> PreTrainedTokenizerFast:
    """As SentencePiece makes them for Llama: `▁` for a space and before the text, bytes for unknown characters."""
    rule = Tokenizer(BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    rule.pre_tokenizer = pre_tokenizers.Metaspace()
    as_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = BpeTrainer(vocab_size=size, special_tokens=["<unk>", "<s>", END, *as_bytes], show_progress=False)
    rule.train_from_iterator([*texts] * 9, trainer)
    rule.pre_tokenizer = None
    rule.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    rule.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    rule.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=rule, bos_token="<s>", eos_token=END, unk_token="<unk>")


KINDS: Final[dict[str, Callable[[], PreTrainedTokenizerFast]]] = {
    "words": words,
    "words without BOS": lambda: words(None),
    "byte-level": byte_level,
    "byte-level with BOS": lambda: byte_level("<s>"),
    "byte fallback": byte_fallback,
}
