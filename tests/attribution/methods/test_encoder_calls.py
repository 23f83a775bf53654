"""No encoder runs twice on the same activation: how often each method encodes a site."""

from collections import Counter
from collections.abc import Callable

import pytest
import torch

from attribution.chord.chord_integrated_gradients import chord_integrated_gradients
from attribution.dictionaries import JumpReLU
from attribution.dictionaries.kinds.sae import SAE
from attribution.effects.effects import Effects
from attribution.effects.quadrature import midpoint
from attribution.methods.attribution_patching import attribution_patching
from attribution.methods.exact_patching import exact_patching
from attribution.methods.input_path_integrated_gradients import input_path_integrated_gradients
from attribution.methods.integrated_gradients import integrated_gradients
from attribution.prompts.metrics import logit_difference
from attribution.splice.spliced_model import SplicedModel
from tests.worlds.tiny_models import PAIRS, bridge, saes_on

SITES = {
    f"blocks.{n}.{part}": JumpReLU for n in (0, 1) for part in ("hook_attn_out", "hook_mlp_out", "hook_resid_post")
}
ENDS = 2
"""The clean run and the patch run."""

EXPECTED: dict[str, tuple[Callable[..., Effects], dict[str, object], int]] = {
    "AtP": (attribution_patching, {}, ENDS),
    "exact, live": (exact_patching, {}, ENDS),
    "IG, site path": (integrated_gradients, {"points": midpoint(3)}, ENDS),
    "IG, input path: all points in one forward, all edges in another": (
        input_path_integrated_gradients,
        {"points": midpoint(3), "batch_size": 16},
        ENDS + 2,
    ),
    "chord IG: its points meet no encoder, its secants are those of the ends": (
        chord_integrated_gradients,
        {"points": midpoint(3), "batch_size": 16},
        ENDS,
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_every_site_is_encoded_as_often_as_the_method_needs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, options, times = EXPECTED[name]
    model = bridge("neox", 2)
    spliced = SplicedModel(model, saes_on(model, SITES), dtype=torch.float64)
    seen: list[tuple[str, torch.Tensor]] = []
    project = SAE.project

    def counted(self: SAE, normalised: torch.Tensor) -> torch.Tensor:
        seen.append((self.site, normalised.detach().clone()))
        return project(self, normalised)

    monkeypatch.setattr(SAE, "project", counted)
    method(spliced, PAIRS, logit_difference, **options)
    assert Counter(site for site, _ in seen) == dict.fromkeys(spliced.sites, times)
    for site in spliced.sites:
        own = [x for at, x in seen if at == site]
        assert not any(torch.equal(x, y) for n, x in enumerate(own) for y in own[:n])
