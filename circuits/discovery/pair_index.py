"""The index of circuits of single pairs: what was found for each, as a page with links and as data."""

from pathlib import Path
from typing import Final

from attribution.models.language_model import LanguageModel
from attribution.prompts.prompt_pair import NO_FOIL, PromptPair
from circuits.discovery.discover import Found
from graphs import certificate_lines
from graphs.files.index_json import CircuitIndex, IndexedCircuit, save_index
from graphs.files.whole_file import whole_file
from graphs.page.index_page import write_index_page
from graphs.words.certificate_words import worst_of

INDEX_DATA: Final = "index.json"
INDEX_PAGE: Final = "index.html"


class PairIndex:
    """The index in a folder; both files are written anew with every circuit, so that they never lag behind.

    Args:
        folder: where the index is; the files of each circuit are in a folder of their own in it.
        title: heading of the page.
        model: says what the prompts' tokens are.
        page: name of each circuit's page in its folder.
    """

    def __init__(self, folder: Path, title: str, model: LanguageModel, page: str) -> None:
        self.data, self.page = folder / INDEX_DATA, folder / INDEX_PAGE
        self._title, self._model, self._circuit_page = title, model, page
        self._circuits: list[IndexedCircuit] = []

    def add(self, found: Found, pair: PromptPair, folder: str) -> None:
        """One more circuit, that of the next pair, whose files are in `folder`."""
        self._circuits.append(indexed_circuit(len(self._circuits), found, pair, folder, self._model))
        metric, unit = found.effects.metric, found.effects.metric_unit
        index = CircuitIndex(self._title, metric, unit, tuple(self._circuits))
        with whole_file(self.data) as path:
            save_index(index, path)
        with whole_file(self.page) as path:
            write_index_page(index, path, page=self._circuit_page)


def indexed_circuit(number: int, found: Found, pair: PromptPair, folder: str, model: LanguageModel) -> IndexedCircuit:
    """What an index says about the circuit of one pair."""
    circuit, before = found.circuit, float(found.effects.clean_metric[0])
    judged = () if circuit.certificate is None else circuit.certificate.faithfulness
    clean, patch = ("".join(model.shown_in_text(ids[: pair.end + 1])) for ids in (pair.clean_ids, pair.patch_ids))
    return IndexedCircuit(
        pair=number,
        folder=folder,
        clean=clean,
        patch=patch,
        answer=model.token_text(pair.answer_id),
        wrong="" if pair.foil_id == NO_FOIL else model.token_text(pair.foil_id),
        clean_metric=before,
        patch_metric=before + float(found.effects.total_effect[0]),
        faithfulness=judged[0].faithfulness if judged else None,
        nodes=len(circuit.strongest()),
        edges=len(circuit.edges),
        colour=worst_of(certificate_lines(circuit)),
    )
