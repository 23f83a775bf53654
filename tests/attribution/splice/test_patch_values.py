"""Zero and mean patch values against twins; what they refuse."""

import pytest
import torch

from attribution.effects.quadrature import gauss_legendre
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.exact_patching import exact_patching
from attribution.methods.input_path_integrated_gradients import input_path_integrated_gradients
from attribution.methods.integrated_gradients import integrated_gradients
from attribution.prompts.metrics import logit_difference
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.patch_values import mean_over, zero
from attribution.splice.spliced_model import ErrorMode
from tests.attribution.methods.test_methods_equal_twins import GAUSS_2, assert_equal, difference
from tests.twins import method_twins as twins
from tests.worlds.tiny_models import BOS, PAIRS, World

TWO = PromptPairs(PAIRS.pairs[1:])
REFERENCE = ((BOS, 4, 8, 15), (BOS, 16, 9), (3, 2, 20, 11, 5))


def own(mode: ErrorMode) -> str:
    return "zero" if mode == "zero" else "live"


def spliced_only(values: torch.Tensor, ids: tuple[int, ...]) -> torch.Tensor:
    return values[0, 1 if ids[0] == BOS else 0 :]


def mean_run(world: World, ids: tuple[int, ...], mode: ErrorMode) -> twins.Run:
    """The mean over the spliced positions of the reference prompts, at every spliced position of a prompt."""
    with torch.no_grad():
        runs = [twins.forward(world, prompt, own(mode)) for prompt in REFERENCE]
        like = twins.forward(world, ids, own(mode))
    here = torch.ones(1, len(ids), 1, dtype=torch.float64)
    here[0, 0] = ids[0] != BOS

    def mean(kind: str, site: str) -> torch.Tensor:
        parts = [spliced_only(getattr(r, kind)[site], p) for r, p in zip(runs, REFERENCE, strict=True)]
        return torch.cat(parts).mean(0) * here

    run = twins.Run(like.logits, entry=like.entry)
    run.f = {site: mean("f", site) for site in like.f}
    run.e = {site: mean("e", site) for site in like.e}
    return run


def zero_run(world: World, ids: tuple[int, ...], mode: ErrorMode) -> twins.Run:
    with torch.no_grad():
        run = twins.forward(world, ids, own(mode))
    run.f = {site: 0 * f for site, f in run.f.items()}
    run.e = {site: 0 * e for site, e in run.e.items()}
    return run


@pytest.mark.parametrize("mode", ["live", "frozen", "zero"])
@pytest.mark.parametrize("value", ["zero", "mean"])
def test_constant_patch_values_equal_the_twins(llama_world: World, value: str, mode: ErrorMode) -> None:
    spliced = llama_world.spliced
    if value == "zero":
        chosen, target = zero, zero_run
    else:
        chosen, target = mean_over(spliced, REFERENCE, batch_size=2, error_mode=mode), mean_run
    settings = {"error_mode": mode, "patch_value": chosen}
    exact = exact_patching(spliced, TWO, logit_difference, **settings)
    atp = attribution_patching(spliced, TWO, logit_difference, **settings)
    ig = integrated_gradients(spliced, TWO, logit_difference, points=gauss_legendre(2), **settings)
    assert exact.patch_value == value
    for example, pair in enumerate(TWO):
        p, m = target(llama_world, pair.clean_ids, mode), difference(pair)
        ids = (llama_world, pair.clean_ids, p, m, mode)
        assert assert_equal(exact, example, twins.exact_patching(*ids)) > 20
        assert assert_equal(atp, example, twins.attribution_patching(*ids)) > 20
        assert assert_equal(ig, example, twins.integrated_gradients(*ids, GAUSS_2)) > 20
        with torch.no_grad():
            clean = twins.forward(llama_world, pair.clean_ids, own(mode))
            all_patched = twins.forward(
                llama_world, pair.clean_ids, own(mode), edit=lambda s, f, e, p=p: (p.f[s], p.e[s])
            )
        total = float(m(all_patched.logits) - m(clean.logits))
        assert exact.total_effect[example] == pytest.approx(total, rel=1e-9)


def test_tokens_are_not_patched_with_constants(llama_world: World) -> None:
    effects = attribution_patching(llama_world.spliced, TWO, logit_difference, patch_value=zero)
    assert not effects.of_kind("token").any()
    assert (effects.patch == 0).all()
    assert (effects.clean[effects.of_kind("error")] > 0).all()


def test_a_mean_over_nothing_is_an_error(llama_world: World) -> None:
    with pytest.raises(ValueError, match="A mean over no prompts is undefined"):
        mean_over(llama_world.spliced, [])
    with pytest.raises(ValueError, match="the reference prompts hold only BOS"):
        mean_over(llama_world.spliced, [(BOS,)])


def test_the_input_path_needs_a_patch_prompt(llama_world: World) -> None:
    with pytest.raises(ValueError, match="patch value 'zero' has none"):
        input_path_integrated_gradients(llama_world.spliced, TWO, logit_difference, patch_value=zero)
