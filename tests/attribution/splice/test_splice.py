"""The splice: invisible until something intervenes, gone afterwards, refused where it would be wrong."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jaxtyping
import pytest
import torch
from torch import Tensor, nn

from attribution.dictionaries import SAE, JumpReLU, ReLU
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.exact_patching import exact_patching
from attribution.models.hooks import logits_at
from attribution.models.language_model import LanguageModel
from attribution.prompts.metrics import logit_difference
from attribution.splice import masking
from attribution.splice.resuming import resume
from attribution.splice.spliced_model import TOKENS, ErrorMode, SplicedModel
from tests.twins import method_twins as twins
from tests.worlds.tiny_models import JUMPRELU_SITES, PAIRS, WIDTH, World, fitting_sae, plain_world, saes_on, tiny_model

IDS = torch.tensor([[0, 5, 9, 3, 2], [7, 8, 2, 11, 4]])
LAST = torch.tensor([4, 4])


def hooks_on(module: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return sum(len(vars(m)[kind]) for m in module.modules() for kind in kinds)


@pytest.fixture
def nothing_left_behind(model: LanguageModel) -> Iterator[None]:
    hooks = hooks_on(model.module)
    flags = [p.requires_grad for p in model.module.parameters()]
    training = [m.training for m in model.module.modules()]
    yield
    assert hooks_on(model.module) == hooks
    assert [p.requires_grad for p in model.module.parameters()] == flags
    assert [m.training for m in model.module.modules()] == training
    assert all(p.grad is None for p in model.module.parameters())


@pytest.mark.usefixtures("nothing_left_behind")
def test_live_without_interventions_is_bit_identical_to_the_bare_model(world: World) -> None:
    bare = world.model.module(IDS)
    assert torch.equal(world.spliced.run(IDS).logits, bare)
    recorded = world.spliced.record(IDS, LAST)
    assert torch.equal(recorded.logits, logits_at(world.model, IDS, LAST, {}))
    assert torch.equal(recorded.logits, world.spliced.run(IDS, read=recorded.last).logits)


@pytest.mark.usefixtures("nothing_left_behind")
def test_frozen_at_the_clean_run_is_bit_identical_to_the_bare_model(world: World) -> None:
    bare = world.model.module(IDS)
    assert torch.equal(world.spliced.run(IDS, error_mode="frozen").logits, bare)
    assert torch.equal(world.spliced.record(IDS, LAST, "frozen").logits, logits_at(world.model, IDS, LAST, {}))


def test_frozen_is_bit_identical_where_active_features_are_decoded_by_themselves(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WORTH_A_PRODUCT", "WORTH_A_CALL"):
        monkeypatch.setattr(masking, name, 0)
    assert torch.equal(world.spliced.run(IDS, error_mode="frozen").logits, world.model.module(IDS))


@pytest.mark.usefixtures("nothing_left_behind")
def test_logits_at_one_position_of_each_row_are_the_whole_runs(world: World) -> None:
    last, bare = torch.tensor([3, 1]), world.model.module(IDS)
    found = logits_at(world.model, IDS, last, {})
    assert found.shape == (2, bare.shape[-1])
    torch.testing.assert_close(found, bare[torch.arange(2), last], rtol=0, atol=1e-12)


def test_live_is_bit_identical_in_float32_too() -> None:
    model = tiny_model("llama")
    model.module.float()
    saes = saes_on(model, JUMPRELU_SITES)
    spliced = SplicedModel(model, saes)
    assert all(sae.W_enc.dtype == torch.float32 for sae in spliced.saes.values())
    assert torch.equal(spliced.run(IDS).logits, model.module(IDS))


def test_zero_mode_is_not_the_bare_model(world: World) -> None:
    gap = world.spliced.run(IDS, error_mode="zero").logits - world.model.module(IDS)
    assert gap.abs().max() > 0.1


@pytest.mark.parametrize("mode", ["live", "zero"])
def test_features_and_errors_are_those_of_the_twin(world: World, mode: ErrorMode) -> None:
    run = world.spliced.run(IDS, error_mode=mode)
    for row, ids in enumerate(IDS.tolist()):
        with torch.no_grad():
            twin = twins.forward(world, ids, mode)
        torch.testing.assert_close(run.logits[row, -1], twin.logits[0], rtol=1e-9, atol=1e-12)
        for site in run.features:
            torch.testing.assert_close(run.features[site].dense()[row], twin.f[site][0], rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(run.errors[site][row], twin.e[site][0], rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("nothing_left_behind")
def test_measuring_leaves_the_model_as_it_was(world: World) -> None:
    parameters = list(world.model.module.parameters())
    flags = [p.requires_grad for p in parameters]
    parameters[0].requires_grad_(False)
    try:
        for method in (attribution_patching, exact_patching):
            method(world.spliced, PAIRS, logit_difference, error_mode="frozen")
        assert [p.requires_grad for p in parameters] == [False, *flags[1:]]
    finally:
        parameters[0].requires_grad_(flags[0])


def test_a_model_in_training_mode_is_measured_without_dropout_and_given_back() -> None:
    model = tiny_model("gpt2")
    world = World(model, saes_on(model, JUMPRELU_SITES))
    expected = attribution_patching(world.spliced, PAIRS, logit_difference)
    model.module.train()
    found = attribution_patching(world.spliced, PAIRS, logit_difference)
    assert found.clean_metric.tolist() == expected.clean_metric.tolist()
    assert all(m.training for m in model.module.modules())


@dataclass(frozen=True, eq=False, kw_only=True)
class Raising(SAE):
    """A ReLU SAE whose encoder raises when told to."""

    kind: ClassVar[str] = "raising"
    encoder_tensors: ClassVar = {}
    what: ClassVar[list[BaseException]] = []

    def value_and_margin(self, projection: Tensor) -> tuple[Tensor, None]:
        if self.what:
            raise self.what[0]
        return projection.relu(), None


@pytest.mark.usefixtures("nothing_left_behind")
@pytest.mark.parametrize(
    "error", [KeyboardInterrupt("stop"), ZeroDivisionError("stop")], ids=lambda e: type(e).__name__
)
def test_hooks_are_gone_after_an_exception_inside_the_forward(world: World, error: BaseException) -> None:
    site = "blocks.1.hook_mlp_out"
    sae = Raising(W_enc=torch.eye(WIDTH), W_dec=torch.eye(WIDTH), b_dec=torch.zeros(WIDTH), site=site)
    spliced = SplicedModel(world.model, {**world.saes, site: sae}, dtype=torch.float64)
    bare = world.model.module(IDS)
    Raising.what.append(error)
    try:
        modes: tuple[ErrorMode, ...] = ("live", "frozen", "zero")
        for mode in modes:
            with pytest.raises(type(error), match="stop"):
                spliced.run(IDS, error_mode=mode)
            with pytest.raises(type(error), match="stop"):
                attribution_patching(spliced, PAIRS, logit_difference, error_mode=mode)
            assert all(p.requires_grad for p in world.model.module.parameters())
    finally:
        Raising.what.clear()
    assert torch.equal(world.model.module(IDS), bare)


def test_hooks_the_user_put_there_still_act(llama_world: World) -> None:
    seen: list[Any] = []
    point = llama_world.model.module.hook_dict["blocks.0.hook_mlp_out"]
    handle = point.register_forward_hook(lambda _m, _i, x: seen.append(x))
    try:
        llama_world.spliced.run(IDS)
        assert seen
    finally:
        handle.remove()


@pytest.mark.parametrize("mode", ["live", "frozen", "zero"])
def test_resuming_equals_the_whole_run(world: World, mode: ErrorMode) -> None:
    spliced = world.spliced
    assert spliced.can_resume
    recording = spliced.record(IDS, LAST, mode)
    whole = SplicedModel(world.model, world.saes, dtype=torch.float64)
    whole.can_resume = False
    rows = torch.tensor([1, 0, 1])
    generator = torch.Generator().manual_seed(0)
    for site in (TOKENS, *spliced.sites):
        output = recording.entry if site == TOKENS else recording.sites[site].output
        same = resume(spliced, recording, rows, site, output[rows], mode)
        torch.testing.assert_close(same, recording.logits[rows], rtol=1e-9, atol=1e-12)
        moved = output[rows] + torch.randn(3, *output.shape[1:], generator=generator, dtype=torch.float64)
        torch.testing.assert_close(
            resume(spliced, recording, rows, site, moved, mode),
            resume(whole, recording, rows, site, moved, mode),
            rtol=1e-9,
            atol=1e-12,
        )


def test_resuming_executes_only_the_blocks_above(world: World) -> None:
    recording = world.spliced.record(IDS, LAST)
    calls: list[int] = []
    handles = [
        b.register_forward_pre_hook(lambda _m, _i, n=n: calls.append(n))
        for n, b in enumerate(world.model.module.blocks)
    ]
    try:
        for site, expected in (("blocks.0.hook_resid_post", [1]), ("blocks.0.hook_mlp_out", [0, 1])):
            calls.clear()
            resume(world.spliced, recording, LAST * 0, site, recording.sites[site].output[[0, 0]])
            assert calls == expected
    finally:
        for handle in handles:
            handle.remove()


def test_a_model_that_cannot_resume_gives_the_same_numbers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = exact_patching(world.spliced, PAIRS, logit_difference, error_mode="frozen")

    def cannot(*_: Any, **__: Any) -> Tensor:
        raise TypeError("this block wants more")

    monkeypatch.setattr(LanguageModel, "run_blocks", cannot)
    monkeypatch.delitem(vars(world.model), "proof", raising=False)
    spliced = SplicedModel(world.model, world.saes, dtype=torch.float64)
    assert not spliced.can_resume
    found = exact_patching(spliced, PAIRS, logit_difference, error_mode="frozen")
    assert found.index.tolist() == expected.index.tolist()
    torch.testing.assert_close(torch.tensor(found.effect), torch.tensor(expected.effect), rtol=1e-9, atol=1e-12)


def test_sites_come_in_the_order_the_forward_pass_reaches_them(world: World) -> None:
    spliced = SplicedModel(world.model, dict(reversed(list(world.saes.items()))), dtype=torch.float64)
    layers = [int(site.split(".")[1]) for site in spliced.sites]
    assert layers == sorted(layers)
    assert spliced.sites[2] == "blocks.0.hook_resid_post"
    assert set(spliced.sites) == set(world.saes)


def test_bos_is_left_alone_unless_asked_for(llama_world: World) -> None:
    ids, last = IDS[:1], LAST[:1]
    assert llama_world.spliced.spliced_positions(ids, last).tolist() == [[False, True, True, True, True]]
    assert llama_world.spliced.spliced_positions(IDS[1:], last).all()
    with_bos = replace(llama_world, splice_bos=True).spliced
    assert with_bos.spliced_positions(ids, last).all()
    for features in llama_world.spliced.run(ids).features.values():
        assert features.pos.min() >= 1
    assert any(f.pos.min() == 0 for f in with_bos.run(ids).features.values())


def test_two_saes_on_one_site_are_an_error(llama_world: World) -> None:
    sae = llama_world.saes["blocks.0.hook_mlp_out"]
    with pytest.raises(ValueError, match="Two SAEs for one site"):
        SplicedModel(llama_world.model, [sae, sae])


def test_two_saes_on_one_site_under_two_names_are_an_error(llama_world: World) -> None:
    sae = llama_world.saes["blocks.0.hook_mlp_out"]
    with pytest.raises(ValueError, match=r"'blocks.0.mlp.hook_out' is the same activation as 'blocks.0.hook_mlp_out'"):
        SplicedModel(llama_world.model, {"blocks.0.hook_mlp_out": sae, "blocks.0.mlp.hook_out": sae})


def test_an_alias_is_spliced_at_its_canonical_site(llama_world: World) -> None:
    sae = llama_world.saes["blocks.0.hook_mlp_out"]
    spliced = SplicedModel(llama_world.model, {"blocks.0.mlp.hook_out": sae}, dtype=torch.float64)
    assert spliced.sites == ("blocks.0.hook_mlp_out",)
    assert spliced.site("blocks.0.mlp.hook_out") == "blocks.0.hook_mlp_out"


def test_a_misspelt_site_is_an_error_that_lists_near_matches(world: World) -> None:
    sae = next(iter(world.saes.values()))
    with pytest.raises(LookupError, match=r"no site 'blocks.0.hook_mlp_uot'. Near matches: .*blocks.0.hook_mlp_out"):
        SplicedModel(world.model, {"blocks.0.hook_mlp_uot": sae})


def test_a_site_outside_every_block_is_an_error(world: World) -> None:
    sae = next(iter(world.saes.values()))
    with pytest.raises(ValueError, match="lies in no block and cannot be spliced"):
        SplicedModel(world.model, {"hook_embed" if not world.model.is_bridge else "unembed.hook_in": sae})


def test_an_sae_of_the_wrong_width_is_an_error(world: World) -> None:
    site = "blocks.0.hook_mlp_out"
    sae = fitting_sae(JumpReLU, torch.randn(9, WIDTH + 1).double(), site)
    with pytest.raises(ValueError, match=f"'{site}' has d_in = 17, but the activation there is 16 wide"):
        SplicedModel(world.model, [sae])


def test_splicing_nothing_is_an_error(world: World) -> None:
    with pytest.raises(ValueError, match="No SAEs given"):
        SplicedModel(world.model, [])


def test_a_hook_that_never_fires_is_an_error(llama_world: World) -> None:
    sae = ReLU(W_enc=torch.eye(WIDTH), W_dec=torch.eye(WIDTH), b_dec=torch.zeros(WIDTH), b_enc=torch.zeros(WIDTH))
    world = plain_world(torch.tanh, always_open=True)
    plain = world.model.module
    never = "blocks.1.hook_never"
    plain.hook_dict[never] = type(plain.hook_dict["blocks.1.hook_mlp_out"])()
    model = LanguageModel(plain)
    with pytest.raises(ValueError, match=f"'{never}' fires 0 times in a forward pass; it must fire once"):
        SplicedModel(model, {never: sae})


def test_path_errors_are_given_in_path_mode_only(world: World) -> None:
    with pytest.raises(ValueError, match="Errors are given in `path` mode and in no other"):
        world.spliced.record(IDS, LAST, "path")
    with pytest.raises(ValueError, match=r"No error mode 'path' here\. Choose one of: live, frozen, zero\."):
        world.spliced.run(IDS, error_mode="path")


def test_an_unknown_error_mode_is_an_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # a user has no check of types
    mode: Any = "frozn"
    with pytest.raises(ValueError, match=r"No error mode 'frozn' here\. Choose one of: live, frozen, zero\."):
        world.spliced.run(IDS, error_mode=mode)
    with pytest.raises(ValueError, match=r"No error mode 'frozn' here\. Choose one of: live, frozen, zero, path\."):
        world.spliced.record(IDS, LAST, mode)
