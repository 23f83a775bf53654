"""Fixtures: one tiny model of every shape, each built once."""

import pytest

from attribution.models.language_model import LanguageModel
from tests.worlds.tiny_models import (
    BRIDGES,
    HAS_HOOKED,
    HOOKED,
    JUMPRELU_SITES,
    NO_HOOKED,
    World,
    saes_on,
    tiny_model,
)


@pytest.fixture(scope="session", params=[*BRIDGES, HOOKED])
def model(request: pytest.FixtureRequest) -> LanguageModel:
    """Every shape of model; HookedTransformer where transformer-lens has it."""
    if request.param == HOOKED and not HAS_HOOKED:
        pytest.skip(NO_HOOKED)
    return tiny_model(request.param)


@pytest.fixture(scope="session")
def world(model: LanguageModel) -> World:
    """A model with JumpReLU SAEs at attention, MLP and residual sites."""
    return World(model, saes_on(model, JUMPRELU_SITES))


@pytest.fixture(scope="session")
def llama() -> LanguageModel:
    return tiny_model("llama")


@pytest.fixture(scope="session")
def llama_world(llama: LanguageModel) -> World:
    return World(llama, saes_on(llama, JUMPRELU_SITES))
