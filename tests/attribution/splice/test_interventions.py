"""Interventions do exactly what they say, at the positions they name; one that would do nothing is an error."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from attribution.splice.interventions import (
    Intervention,
    ablate_error,
    ablate_feature,
    add_to_error,
    add_to_feature,
    scale_error,
    scale_feature,
    set_error,
    set_feature,
)
from attribution.splice.spliced_model import ErrorMode
from tests.twins import method_twins as twins
from tests.worlds.tiny_models import World

IDS = [0, 5, 9, 3, 2]
SITE = "blocks.0.hook_mlp_out"


def active(world: World, site: str = SITE) -> tuple[int, int, float]:
    """Position, index and value of an active feature, not at the last position."""
    features = world.spliced.run(torch.tensor([IDS])).features[site]
    return int(features.pos[0]), int(features.index[0]), float(features.value[0])


def inactive(world: World) -> tuple[int, int]:
    dense = world.spliced.run(torch.tensor([IDS])).features[SITE].dense()[0]
    position, index = torch.nonzero(dense[1:] == 0)[0].tolist()
    return position + 1, index


def assert_moves_as_the_twin(world: World, mode: ErrorMode, intervention: Intervention, edit: twins.Edit) -> None:
    """Logits equal the twin's under the same edit and differ from those without it."""
    with torch.no_grad():
        clean = twins.forward(world, IDS, "zero" if mode == "zero" else "live")
        expected = twins.forward(world, IDS, mode, errors=clean.e, edit=edit).logits
    found = world.spliced.run(torch.tensor([IDS]), [intervention], error_mode=mode).logits[:, -1]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    assert (found - clean.logits).abs().max() > 1e-8


@pytest.mark.parametrize("mode", ["live", "frozen", "zero"])
def test_feature_interventions_equal_the_twin(world: World, mode: ErrorMode) -> None:
    site = "blocks.0.hook_attn_out"
    position, index, value = active(world, site)
    cases: list[tuple[Intervention, float]] = [
        (set_feature(site, index, 2.5, [position]), 2.5),
        (add_to_feature(site, index, 1.5, [position]), value + 1.5),
        (scale_feature(site, index, 3.0, [position]), 3 * value),
        (ablate_feature(site, index, [position]), 0.0),
    ]
    for intervention, new in cases:

        def edit(s: str, f: Tensor, e: Tensor, new: float = new) -> tuple[Tensor, Tensor]:
            f = f.clone()
            if s == site:
                f[0, position, index] = new
            return f, e

        assert_moves_as_the_twin(world, mode, intervention, edit)


@pytest.mark.parametrize("mode", ["live", "frozen"])
def test_error_interventions_equal_the_twin(world: World, mode: ErrorMode) -> None:
    vector = torch.randn(16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cases = [
        (set_error(SITE, vector, [2]), lambda e: vector),
        (add_to_error(SITE, vector, [2]), lambda e: e + vector),
        (scale_error(SITE, -2.0, [2]), lambda e: -2 * e),
        (ablate_error(SITE, [2]), lambda e: 0 * e),
    ]
    for intervention, change in cases:

        def edit(s: str, f: Tensor, e: Tensor, change: Callable[[Tensor], Tensor] = change) -> tuple[Tensor, Tensor]:
            e = e.clone()
            if s == SITE:
                e[0, 2] = change(e[0, 2])
            return f, e

        assert_moves_as_the_twin(world, mode, intervention, edit)


def test_an_error_may_be_set_in_zero_mode(world: World) -> None:
    vector = torch.ones(16, dtype=torch.float64)

    def edit(s: str, f: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        here = torch.tensor([0.0, 1, 1, 1, 1], dtype=torch.float64)[:, None]  # BOS is not spliced
        return f, here * vector if s == SITE else e

    assert_moves_as_the_twin(world, "zero", set_error(SITE, vector), edit)


def test_everywhere_is_every_spliced_position(world: World) -> None:
    run = world.spliced.run(torch.tensor([IDS]), [set_feature(SITE, 3, 1.25)])
    assert run.features[SITE].dense()[0, :, 3].tolist() == [0, 1.25, 1.25, 1.25, 1.25]


def test_interventions_apply_in_the_order_given_and_are_written_down(world: World) -> None:
    position, index, _ = active(world)
    both = [set_feature(SITE, index, 2.0, [position]), scale_feature(SITE, index, 1.5, [position])]
    run = world.spliced.run(torch.tensor([IDS]), both)
    assert run.features[SITE].dense()[0, position, index] == pytest.approx(3)
    swapped = world.spliced.run(torch.tensor([IDS]), both[::-1])
    assert swapped.features[SITE].dense()[0, position, index] == pytest.approx(2)


def test_an_intervention_moves_downstream_features_and_nothing_before_it(world: World) -> None:
    clean = world.spliced.run(torch.tensor([IDS]))
    run = world.spliced.run(torch.tensor([IDS]), [add_to_feature(SITE, 0, 3.0, [2])])
    for site in ("blocks.0.hook_attn_out",):
        assert torch.equal(run.features[site].dense(), clean.features[site].dense())
    later = run.features["blocks.1.hook_mlp_out"].dense() - clean.features["blocks.1.hook_mlp_out"].dense()
    assert (later[0, :2] == 0).all()
    assert later[0, 2:].abs().max() > 1e-3
    assert torch.equal(run.logits[:, :2], clean.logits[:, :2])


def test_no_interventions_are_no_error(world: World) -> None:
    assert torch.equal(world.spliced.run(torch.tensor([IDS]), []).logits, world.model.module(torch.tensor([IDS])))


def refused(world: World, intervention: Intervention, error: type[Exception], match: str) -> None:
    modes: tuple[ErrorMode, ...] = ("live", "frozen", "zero")
    for mode in modes:
        with pytest.raises(error, match=match):
            world.spliced.run(torch.tensor([IDS]), [intervention], error_mode=mode)


def test_an_intervention_at_a_misspelt_site_is_an_error(world: World) -> None:
    refused(
        world,
        set_feature("blocks.0.hook_mlp_uot", 0, 1.0),
        LookupError,
        "no site 'blocks.0.hook_mlp_uot'.*Near matches.*Spliced sites: ",
    )


def test_an_intervention_where_no_sae_is_spliced_is_an_error(world: World) -> None:
    refused(
        world,
        set_feature("blocks.1.hook_attn_out", 0, 1.0),
        LookupError,
        "No SAE is spliced in at 'blocks.1.hook_attn_out'. Spliced sites: blocks.0.hook_attn_out",
    )


def test_a_feature_index_too_large_is_an_error(world: World) -> None:
    for index in (12, -1):
        refused(world, set_feature(SITE, index, 1.0), ValueError, "the SAE there has features 0 to 11")


def test_a_position_out_of_range_is_an_error(world: World) -> None:
    for position in (5, -6):
        refused(world, set_feature(SITE, 0, 1.0, [position]), ValueError, "positions run from 0 to 4")


def test_a_position_left_unspliced_is_an_error(world: World) -> None:
    refused(world, set_feature(SITE, 0, 1.0, [0]), ValueError, "position 0 is not spliced")
    padded = torch.tensor([[*IDS, 7]])
    with pytest.raises(ValueError, match="position 5 is not spliced"):
        world.spliced.run(padded, [set_feature(SITE, 0, 1.0, [5])], last=torch.tensor([4]))


def test_negative_positions_count_from_the_end_of_prompts_that_are_equally_long(world: World) -> None:
    both = torch.tensor([IDS, [*IDS[:3], 7, 7]])
    last, same = ([set_feature(SITE, 3, 1.25, [position])] for position in (-1, len(IDS) - 1))
    assert torch.equal(world.spliced.run(both, last).logits, world.spliced.run(both, same).logits)
    with pytest.raises(ValueError, match="unequal length, so -1 is none of their own"):
        world.spliced.run(both, last, last=torch.tensor([4, 2]))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"positions": []}, "one at least"),
        ({"positions": [3, 3]}, "named once each"),
        ({"positions": [True]}, "A position must be a whole number; got True"),
        ({"index": True}, "A feature's index must be a whole number; got True"),
        ({"value": float("nan")}, "must be a finite number or tensor; got nan"),
        ({"value": float("inf")}, "must be a finite number"),
    ],
)
def test_an_intervention_that_makes_no_sense_is_refused_when_it_is_made(change: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        set_feature(SITE, **{"index": 1, "value": 1.0} | change)
    if "value" in change:
        for operation in (add_to_feature, scale_feature):
            with pytest.raises(ValueError, match=match):
                operation(SITE, 1, change["value"])


def test_an_error_of_another_width_is_refused_in_words(world: World) -> None:
    refused(world, set_error(SITE, torch.zeros(3)), ValueError, r"shape \(3,\) cannot be written")


def test_an_inactive_feature_scaled_or_ablated_is_an_error(world: World) -> None:
    position, index = inactive(world)
    for intervention in (scale_feature(SITE, index, 2.0, [position]), ablate_feature(SITE, index, [position])):
        with pytest.raises(ValueError, match=r"would change nothing.*the feature is inactive"):
            world.spliced.run(torch.tensor([IDS]), [intervention])


def test_a_feature_set_to_its_own_value_is_an_error(world: World) -> None:
    position, index, value = active(world)
    with pytest.raises(ValueError, match="would change nothing"):
        world.spliced.run(torch.tensor([IDS]), [set_feature(SITE, index, value, [position])])
    for nothing in (add_to_feature(SITE, index, 0.0), scale_feature(SITE, index, 1.0)):
        with pytest.raises(ValueError, match=re.escape(f"Cannot {nothing}: it would change nothing")):
            world.spliced.run(torch.tensor([IDS]), [nothing])


def test_an_error_ablated_in_zero_mode_is_an_error(world: World) -> None:
    with pytest.raises(ValueError, match="would change nothing"):
        world.spliced.run(torch.tensor([IDS]), [ablate_error(SITE)], error_mode="zero")


def test_hooks_are_gone_after_a_refused_intervention(world: World) -> None:
    position, index = inactive(world)
    bare = world.model.module(torch.tensor([IDS]))
    with pytest.raises(ValueError, match="would change nothing"):
        world.spliced.run(torch.tensor([IDS]), [ablate_feature(SITE, index, [position])])
    assert torch.equal(world.model.module(torch.tensor([IDS])), bare)


def test_two_interventions_on_one_node_are_said_and_act_in_their_order(world: World) -> None:
    position, index, value = active(world)
    last, hooked = position - len(IDS), type(world.model.module).__name__ == "HookedTransformer"
    other_name = SITE if hooked else "blocks.0.mlp.hook_out"  # which only bridges have
    both = [scale_feature(SITE, index, 2.0, [last]), add_to_feature(other_name, index, 1.0, [position])]
    run = world.spliced.run(torch.tensor([IDS]), both)
    dense = run.features[SITE].dense()
    assert float(dense[0, position, index]) == pytest.approx(2 * value + 1)
    (found,) = run.warnings
    assert (found.kind, found.about) == ("node_named_twice", f"{SITE}/{index}")
    elsewhere = [both[0], add_to_feature(SITE, index, 1.0, [p for p in range(1, len(IDS)) if p != position])]
    assert world.spliced.run(torch.tensor([IDS]), elsewhere).warnings == ()
    assert world.spliced.run(torch.tensor([IDS]), [both[0], ablate_error(SITE)]).warnings == ()


def test_one_position_under_two_numbers_is_an_error(world: World) -> None:
    position, index, _ = active(world)
    with pytest.raises(ValueError, match="two of these are the same position of 5"):
        world.spliced.run(torch.tensor([IDS]), [add_to_feature(SITE, index, 1.0, [position, position - len(IDS)])])
