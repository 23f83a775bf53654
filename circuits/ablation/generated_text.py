"""The same prompt continued without and with an ablation."""

from collections.abc import Sequence
from dataclasses import dataclass

from attribution.effects.measurement import Situation
from attribution.models.language_model import LanguageModel
from attribution.runs.progress import Progress, silent
from circuits.ablation.edits import Ablation, constant_edits
from circuits.ablation.generation import generate


@dataclass(frozen=True)
class GeneratedText:
    """A prompt and what follows it, without and with the ablation; the closing token is left out."""

    prompt: str
    before: str
    after: str


def before_and_after(
    situation: Situation,
    labels: Sequence[str],
    ablation: Ablation,
    *,
    new_tokens: int,
    temperature: float = 0.0,
    seed: int = 0,
    progress: Progress = silent,
) -> GeneratedText:
    """Continue the clean prompt of a situation of one pair, to `new_tokens` tokens or the closing one.

    Nodes without a position are changed at every step, too; the others where the prompt has their position. There are
    no patch values for new text: 0 takes the place of counterfactual ones.
    """
    spliced, ids = situation.spliced, situation.batch.clean_ids
    edits = constant_edits(ablation, situation, [labels])
    texts: list[str] = []
    for half, own in enumerate(((), edits)):
        found = generate(
            spliced,
            ids,
            own,
            new_tokens=new_tokens,
            error_mode=ablation.error_mode,
            temperature=temperature,
            seed=seed,
            closing_id=spliced.model.eos_id,
            progress=lambda share, half=half: progress((half + share) / 2),
        )
        texts.append(text_of(found.ids[0, ids.shape[1] :].tolist(), spliced.model))
    return GeneratedText(text_of(ids[0].tolist(), spliced.model), *texts)


def text_of(ids: Sequence[int], model: LanguageModel) -> str:
    """Token ids as text, without the tokens that open and close it."""
    words = [t for t in ids if t not in (model.bos_id, model.eos_id)]
    return " ".join(map(str, words)) if model.tokenizer is None else model.tokenizer.decode(words).strip()
