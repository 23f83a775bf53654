"""General text: what side effects are measured on."""

from attribution.splice.spliced_model import SplicedModel
from circuits.ablation.side_effect import documents_of
from circuits.embedded.language import documents
from circuits.labels.corpus import corpus_from_file

GENERAL_DOCUMENTS, GENERAL_SEED = 64, 2
"""Text of the embedded language on which neither the model nor the SAEs were trained."""


def general_text(file: str | None, spliced: SplicedModel, *, embedded: bool) -> tuple[str | None, list[list[int]]]:
    """A name for the general text and the token ids of its documents; (None, []) without a file, unless `embedded`."""
    if file is not None:
        return file, documents_of(corpus_from_file(file, spliced.model).read(), spliced)
    if embedded:
        return "the embedded language", documents_of(documents(GENERAL_DOCUMENTS, GENERAL_SEED), spliced)
    return None, []
