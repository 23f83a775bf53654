"""Memory follows what is allowed: batches shrink, numbers stay, the peak does not grow with the number of prompts."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from attribution.runs.memory import Room, free_bytes
from tests.attribution.cones.test_cone import spliced_model
from tests.circuits.discovery.test_discover import found
from tests.worlds.tiny_models import PAIRS

MEASURED = """
import sys, tempfile, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, GPTNeoXConfig
from attribution.models.language_model import LanguageModel
from attribution.runs.memory import Room
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.prompts.prompt_pair import PromptPair
from attribution.dictionaries import JumpReLU
from attribution.splice.spliced_model import SplicedModel
from circuits.ranking.question import Question

def peak_kib():
    "Of this program alone: what getrusage says also counts the program that started it."
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

count, mebibytes = int(sys.argv[1]), int(sys.argv[2])
torch.manual_seed(0)
size = dict(hidden_size=64, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4)
config = GPTNeoXConfig(vocab_size=20_000, max_position_embeddings=64, bos_token_id=0, **size)
with tempfile.TemporaryDirectory() as folder:
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    model = LanguageModel.load(Path(folder))
sae = JumpReLU(
    W_enc=torch.randn(64, 8192) / 8, W_dec=torch.randn(8192, 64) / 64, b_dec=torch.zeros(64),
    b_enc=torch.zeros(8192), threshold=torch.full((8192,), 0.04),
)
spliced = SplicedModel(model, {"blocks.0.hook_resid_post": sae})
pairs = []
for n in range(count):
    ids = torch.randint(1, 20_000, (24,), generator=torch.Generator().manual_seed(n % 2)).tolist()
    pairs.append(PromptPair((0, *ids), (0, *ids[:22], 7, ids[23]), 4, 9))
question = Question(spliced, PromptPairs(tuple(pairs)), logit_difference, "frozen", memory=mebibytes * 2**20)
before = peak_kib()
effects = question.exact(None, lambda share: None)
after = peak_kib()
first = float(effects.effect[effects.example < 2].sum())
print(question.room.pairs("exact"), (after - before) // 1024, len(effects), first)
"""


ROW_BYTES = 39
"""One node of one example in `Effects`: three numbers of 8 bytes, and five of 15 in all that say which node it is."""


def measured(pairs: int, mebibytes: int) -> tuple[int, float, int, float]:
    """Pairs in a batch, growth of the peak in MiB, nodes, and the sum of the first two pairs' effects."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(pairs), str(mebibytes)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    batch, peak, nodes, total = done.stdout.split()[-4:]
    return int(batch), float(peak), int(nodes), float(total)


@pytest.mark.slow
def test_less_memory_lowers_the_peak_and_more_prompts_do_not_raise_it() -> None:
    roomy, tight, many = measured(16, 4000), measured(16, 80), measured(96, 80)
    assert roomy[0] == 16
    assert tight[0] == many[0] < 8
    assert tight[1] < 0.75 * roomy[1]
    assert tight[1] < 80
    assert many[2] == 6 * tight[2]
    results = ROW_BYTES * (many[2] - tight[2]) / 2**20  # in MiB; held twice while the batches' rows are joined
    assert many[1] < tight[1] + 2 * results + 0.25 * roomy[1]
    assert roomy[3] == pytest.approx(tight[3], rel=1e-3)
    assert roomy[3] == pytest.approx(many[3], rel=1e-3)


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    with pytest.raises(ValueError, match=r"One pair of 6 tokens .* Give --memory 1M or more, SAEs at fewer sites"):
        found(memory=1000)
    with pytest.raises(ValueError, match="One pair of 6 tokens"):
        found(method="auto", memory=1000)


def test_a_method_that_holds_more_is_refused_where_others_fit() -> None:
    room = Room.of(spliced_model("gpt2"), PAIRS, "frozen", 2**40)
    least = {method: least_allowed(room, method) for method in ("atp", "ig-input", "search")}
    assert least["atp"] < least["ig-input"]
    assert least["atp"] < least["search"]
    replace(room, size=least["atp"]).refuse_if_too_small("atp", "ig", "chord-ig")
    with pytest.raises(ValueError, match="needs about"):
        replace(room, size=least["atp"]).refuse_if_too_small("ig-input")


def least_allowed(room: Room, method: str) -> int:
    """The smallest size that is not refused."""
    refused, allowed = 0, room.size
    while allowed - refused > 1:
        size = (refused + allowed) // 2
        try:
            replace(room, size=size).refuse_if_too_small(method)
        except ValueError:
            refused = size
        else:
            allowed = size
    return allowed


def test_gradients_are_held_whole_where_that_fits_even_one_pair_at_a_time() -> None:
    model = spliced_model("gpt2")
    roomy = Room.of(model, PAIRS, "frozen", 2**40)
    ids, layers = PAIRS.batch().clean_ids[:1], model.model.n_layers
    enough = roomy.graphs.whole + 3 * roomy.recorded // 2 + roomy.projections
    for size, whole in ((2**40, True), (enough, True), (roomy.graphs.whole, False)):
        room = replace(roomy, size=size)
        assert room.fitted(model).holds_whole(ids, layers, model.sites) is whole
        assert room.graph == (roomy.graphs.whole if whole else roomy.graphs.by_block)


def test_batches_follow_the_memory_and_never_pass_what_is_fast() -> None:
    spliced = spliced_model("gpt2")
    sizes = [Room.of(spliced, PAIRS, "frozen", size).pairs("ig") for size in (2**19, 2**21, 2**23, 2**40)]
    assert sizes == sorted(sizes)
    assert (sizes[0] < 4, sizes[-1]) == (True, 16)
    assert Room.of(spliced, PAIRS, "frozen", 2**40).pairs("chord-ig") == 4
    assert Room.of(spliced, PAIRS, "frozen", 2**21).cone_bytes < 2**21
    assert 0 < free_bytes(torch.device("cpu")) < 2**46
