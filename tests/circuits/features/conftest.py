"""The planted model, and its text."""

import pytest

from attribution import SplicedModel
from circuits.labels.corpus import Corpus
from tests.worlds.planted_features import DOCUMENTS, planted


@pytest.fixture(scope="module")
def world() -> SplicedModel:
    return planted()


@pytest.fixture(scope="module")
def corpus(world: SplicedModel) -> Corpus:
    return Corpus("planted", lambda: iter(DOCUMENTS), world.model)
