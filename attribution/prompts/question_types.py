"""What a question is asked with: pairs, a metric, a patch value; anything else is refused in one sentence."""

from typing import Any

from attribution.prompts.metrics import Metric
from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from graphs.short_repr import in_brief


def refuse_other_types(pairs: Any, metric: Any = None, patch_value: Any = None) -> None:
    """Refuse what is no `PromptPairs`, no `Metric` or no patch value; None is not looked at.

    Raises:
        ValueError: the message says how to make what is wanted of what was given.
    """
    if pairs is not None and not isinstance(pairs, PromptPairs):
        how = "PromptPairs(tuple(pairs))" if _all_pairs(pairs) else "prompt_pairs(rows, model)"
        raise ValueError(f"Prompt pairs are needed; got {_shown(pairs)}. Make them by {how}.")
    if metric is not None and not isinstance(metric, Metric):
        if isinstance(metric, str):
            raise ValueError(f"A metric is needed; got its name. Write attribution.metric_named({in_brief(metric)}).")
        if callable(metric):
            raise ValueError(
                "A metric is needed; got a function. Write Metric(name='mine', unit='logits', of=function), where the "
                "function takes logits [row, vocabulary] and a batch and returns a tensor [row]."
            )
        raise ValueError(f"One metric is needed; got {_shown(metric)}. Measure with several one after the other.")
    if patch_value is not None and not callable(patch_value):
        raise ValueError(
            f"A patch value is needed, as counterfactual, zero or mean_over(...); got {_shown(patch_value)}."
        )


def _all_pairs(given: Any) -> bool:
    return isinstance(given, list | tuple) and bool(given) and all(isinstance(pair, PromptPair) for pair in given)


def _shown(given: Any) -> str:
    return in_brief(given) if isinstance(given, str) else f"a {type(given).__name__}"
