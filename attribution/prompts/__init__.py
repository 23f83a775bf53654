"""Prompts: pairs and batches of token ids, names of positions, and the metrics that are read from logits.

For other rooms: `PromptPair` (`prompt_pair.py`), `pair_from` (`pair_entry.py`), `PromptPairs` and `PairBatch`
(`prompt_pairs.py`), `pair_stream` and `count_pairs` (`pair_stream.py`), `position_names` and `SameRoles`
(`position_names.py`), `Metric` and `METRICS` (`metrics.py`).
"""
