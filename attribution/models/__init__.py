"""Language models: the only room that knows TransformerLens, architectures and hooks.

For other rooms: `LanguageModel`; `layer_of` and `ENTRY_SITE` (`site_names.py`); `hooked`, `logits_with`, `logits_at`
and `constant` (`hooks.py`, where hooks are installed); `check_soundness` (`soundness.py`); `BlockCall`
(`block_calls.py`); `PromptLengths` (`prompt_lengths.py`); `PlainBlock` (`plain_blocks.py`) and `plain_model`
(`architectures.py`) for runs without hooks. Text becomes tokens in `tokenising.py`. A model is opened in `loading.py`,
by TransformerLens or `hugging_face.py`, and what it must prove is in `proofs.py`.
"""
