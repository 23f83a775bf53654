"""The texts of the benchmark of ITO: prompts that the model itself continues, from a seed."""

from benchmarks.inference_time_optimisation import continued
from tests.worlds.tiny_models import PAIRS, tiny_model

PROMPTS = [pair.clean_ids for pair in PAIRS]


def test_continued_prompts_begin_as_given_and_depend_on_the_seed_alone() -> None:
    llama = tiny_model("llama")
    texts = continued(llama, PROMPTS, 8, seed=1)
    assert [len(text) for text in texts] == [8, 8, 8]
    for prompt, text in zip(PROMPTS, texts, strict=True):
        assert tuple(text[: len(prompt)]) == prompt
    assert texts == continued(llama, PROMPTS, 8, seed=1)
    assert texts != continued(llama, PROMPTS, 8, seed=2)
    assert continued(llama, PROMPTS, 2, seed=1) == [list(prompt[:2]) for prompt in PROMPTS]
