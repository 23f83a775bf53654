"""Our SAEs equal SAELens' own: features and reconstructions, from the files SAELens writes.

In units of the largest value (at least 1), float32 differs by at most 1e-6 and float64 by at most 1e-14.
That is rounding, where a factor is multiplied in another order; everything else is the same bit for bit.
"""

import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from attribution.dictionaries import load_sae, load_saes, save_sae

sae_lens = pytest.importorskip("sae_lens")
sae_lens_config = pytest.importorskip("sae_lens.config")
sae_lens_base = pytest.importorskip("sae_lens.saes.sae")

D_IN, D_SAE, K = 16, 48, 6
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14}
ARCHITECTURES = ("standard", "jumprelu", "gated", "topk", "topk rescaled")
NORMALISATIONS = ("none", "expected_average_only_in", "layer_norm", "constant_norm_rescale")
# SAELens cannot train a Matryoshka SAE with the last two: it undoes the normalisation a second time.
TRAINED = [
    *itertools.product(("standard", "jumprelu", "gated", "topk", "batchtopk"), NORMALISATIONS),
    *itertools.product(("matryoshka_batchtopk",), NORMALISATIONS[:2]),
]
BIT_FOR_BIT = ("standard", "jumprelu", "topk", "batchtopk")
REAL = Path(__file__).resolve().parents[4] / "shared/real"


def settings_of(architecture: str) -> tuple[str, dict[str, Any]]:
    """The registered name and the settings that only this architecture has."""
    if architecture.startswith("topk"):
        return "topk", {"k": K, "rescale_acts_by_decoder_norm": architecture == "topk rescaled"}
    return architecture, {}


def random_inference_sae(architecture: str, **settings: Any) -> Any:
    """One of SAELens' inference SAEs with every parameter random."""
    name, own = settings_of(architecture)
    sae_class, config_class = sae_lens.registry.get_sae_class(name)
    metadata = sae_lens_base.SAEMetadata(hook_name="blocks.1.hook_resid_post")
    sae = sae_class(config_class(d_in=D_IN, d_sae=D_SAE, metadata=metadata, **own, **settings))
    generator = torch.Generator().manual_seed(0)
    for parameter_name, parameter in sae.named_parameters():
        drawn = 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data = (drawn.abs() if parameter_name == "threshold" else drawn).to(parameter.dtype)
    return sae


def toy_data(dtype: torch.dtype = torch.float32) -> Iterator[Tensor]:
    """Sparse sums of fixed directions, for ever."""
    generator = torch.Generator().manual_seed(1)
    directions = torch.randn(32, D_IN, generator=generator)
    while True:
        on = torch.rand(128, 32, generator=generator) < 0.1
        coefficients = on * torch.rand(128, 32, generator=generator) + 0.01
        yield (coefficients @ directions).to(dtype)


def trained_sae(architecture: str, normalisation: str) -> Any:
    """A training SAE after 40 steps of SAELens' own trainer."""
    sae_class, config_class = sae_lens.registry.get_sae_training_class(architecture)
    own: dict[str, Any] = {"k": K} if "topk" in architecture else {}
    if architecture == "matryoshka_batchtopk":
        own["matryoshka_widths"] = [D_SAE // 4, D_SAE]
    torch.manual_seed(0)
    sae = sae_class(config_class(d_in=D_IN, d_sae=D_SAE, normalize_activations=normalisation, **own))
    steps, batch = 40, 128
    trainer = sae_lens.SAETrainer(
        cfg=sae_lens_config.SAETrainerConfig(
            total_training_samples=steps * batch,
            train_batch_size_samples=batch,
            lr=1e-2,
            lr_end=1e-3,
            n_batches_for_norm_estimate=10,
            logger=sae_lens_config.LoggingConfig(log_to_wandb=False),
        ),
        sae=sae,
        data_provider=toy_data(),
    )
    return trainer.fit()


def inputs(width: int, dtype: torch.dtype) -> Tensor:
    """Activations [2, 50, width] of about unit size, not centred."""
    generator = torch.Generator().manual_seed(2)
    return (torch.randn(2, 50, width, generator=generator, dtype=torch.float64) + 0.2).to(dtype)


def differences(folder: Path, x: Tensor) -> tuple[float, float]:
    """Largest difference of features, and of reconstructions of SAELens' features, over the largest value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = sae_lens.SAE.load_from_disk(folder, dtype=str(x.dtype).removeprefix("torch."))
        ours = load_sae(folder, dtype=x.dtype)
    with torch.no_grad():
        features = theirs.encode(x)
        reconstruction = theirs.decode(features)
    encoding = ours.encode(x)
    assert (features > 0).any()
    pairs = [(encoding.features, features), (ours.decode(features, encoding.frame), reconstruction)]
    first, second = ((a - b).abs().max().item() / max(1.0, b.abs().max().item()) for a, b in pairs)
    return first, second


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_random_saes_equal_saelens_in_every_convention(architecture: str, dtype: torch.dtype, tmp_path: Path):
    for normalisation, subtract in itertools.product(NORMALISATIONS, (True, False)):
        sae = random_inference_sae(
            architecture,
            normalize_activations=normalisation,
            apply_b_dec_to_input=subtract,
            dtype=str(dtype).removeprefix("torch."),
        )
        sae.save_model(tmp_path)
        found = differences(tmp_path, inputs(D_IN, dtype))
        assert max(found) <= TOLERANCE[dtype], (normalisation, subtract)
        if architecture in BIT_FOR_BIT:
            assert found[0] == 0.0


@pytest.mark.parametrize(("architecture", "normalisation"), TRAINED)
def test_trained_saes_equal_saelens_through_its_own_save_inference_model(
    architecture: str, normalisation: str, tmp_path: Path
):
    sae = trained_sae(architecture, normalisation)
    sae.save_inference_model(tmp_path)
    x = torch.cat(list(itertools.islice(toy_data(), 3)))
    found = differences(tmp_path, x)
    assert max(found) <= TOLERANCE[torch.float32]


@pytest.mark.parametrize("architecture", ["batchtopk", "matryoshka_batchtopk", "topk"])
def test_a_checkpoint_equals_the_inference_model_saved_from_it(architecture: str, tmp_path: Path):
    sae = trained_sae(architecture, "none").to(dtype=torch.float64)
    sae.save_model(tmp_path / "checkpoint")
    sae.save_inference_model(tmp_path / "inference")
    x = next(toy_data(torch.float64))
    ours = load_sae(tmp_path / "checkpoint", dtype=torch.float64).encode(x).features
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "inference", dtype="float64").encode(x)
    assert (ours - theirs).abs().max() < 1e-6


@pytest.mark.parametrize("architecture", ["standard", "batchtopk"])
def test_a_scaling_factor_in_a_checkpoint_is_folded_as_saelens_folds_it(architecture: str, tmp_path: Path):
    sae = trained_sae(architecture, "none").to(dtype=torch.float64)
    sae.cfg.normalize_activations = "expected_average_only_in"
    sae.save_model(tmp_path / "checkpoint")
    (tmp_path / "checkpoint/activation_scaler.json").write_text('{"scaling_factor": 1.75}')
    sae.fold_activation_norm_scaling_factor(1.75)
    sae.save_inference_model(tmp_path / "inference")
    ours = load_sae(tmp_path / "checkpoint", dtype=torch.float64)
    theirs = sae_lens.SAE.load_from_disk(tmp_path / "inference", dtype="float64")
    x = next(toy_data(torch.float64)) / 1.75
    assert (ours.encode(x).features - theirs.encode(x)).abs().max() < 1e-6
    assert (ours.decode(ours.encode(x).features, None) - theirs(x)).abs().max() < 1e-6


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saelens_reads_what_we_write(architecture: str, tmp_path: Path):
    random_inference_sae(architecture, normalize_activations="layer_norm").save_model(tmp_path / "theirs")
    ours = load_sae(tmp_path / "theirs")
    save_sae(ours, tmp_path / "ours")
    read = sae_lens.SAE.load_from_disk(tmp_path / "ours")
    x = inputs(D_IN, torch.float32)
    assert read.cfg.metadata.hook_name == "blocks.1.hook_resid_post"
    assert (read.encode(x) - ours.encode(x).features).abs().max() <= 1e-6


@pytest.mark.skipif(not REAL.exists(), reason="shared/real is not beside this checkout")
def test_saes_trained_on_a_real_model_equal_saelens():
    folder = REAL / "stories260K_saes"
    saes = load_saes(folder)
    assert len(saes) == 15
    for site, sae in saes.items():
        assert differences(folder / site, inputs(sae.d_in, torch.float32)) == (0.0, 0.0)
