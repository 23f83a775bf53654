"""The number of gates that stand at their threshold in clean runs. `gate_rounding.py` has the rule for their states."""

import torch

from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.recording import ErrorMode
from attribution.splice.spliced_model import SplicedModel


def gates_at_threshold(
    spliced: SplicedModel, pairs: PromptPairs, error_mode: ErrorMode, *, batch_size: int = 16
) -> int:
    """The number of gates at their threshold, over all pairs, sites and spliced positions.

    It is 0 in `live` mode, in which effects meet no gate. Costs one forward pass for each batch.
    """
    if error_mode == "live":
        return 0
    mode: ErrorMode = "zero" if error_mode == "zero" else "frozen"
    with spliced.model.frozen(), torch.no_grad():
        return sum(
            spliced.record(batch.clean_ids, batch.last, mode).gates_at_threshold
            for batch in pairs.batches(batch_size, spliced.model)
        )
