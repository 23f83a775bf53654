"""`jumpwire quality`: how good dictionaries are on a text, and which families are better at equal L0."""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import typer
from rich.console import Console

from circuits.commands.shared.inputs import ModelInputs
from circuits.commands.shared.options import (
    INPUTS,
    METHOD,
    OUTPUT,
    MemoryOptions,
    ResumeOptions,
    RowsOptions,
    option,
    refuse_missing_file,
)
from circuits.embedded.sets import DEFAULT_SAES
from circuits.terminal.cautions import caution_texts
from circuits.terminal.progress import progress_bar
from circuits.terminal.resumable import CHUNKS, chunks_in_words, resumable
from circuits.terminal.whole_run import refuse_folders_in_place, write_whole
from graphs.files.whole_file import refuse_unwritable

if TYPE_CHECKING:
    from attribution.models.language_model import LanguageModel
    from graphs import DictionaryQuality

FILES: Final = {"page": "quality.html", "numbers": "quality.json"}


@dataclass(frozen=True)
class QualityInputs(ModelInputs):
    """The model, and the first folder of dictionaries."""

    flag_of_saes: ClassVar[str] = "FOLDER"

    saes: Annotated[
        str | None,
        typer.Argument(
            metavar="FOLDER",
            help="Folder of SAEs (SAELens format, a subfolder each), or name of an embedded set. Default: jumprelu.",
        ),
    ] = None


@dataclass(frozen=True)
class QualityOptions(RowsOptions, ResumeOptions, MemoryOptions):
    """Which other dictionaries are compared, on which text, and what is written."""

    others: Annotated[
        list[str],
        typer.Argument(metavar="OTHER", help="More folders or sets for the same model, compared at equal L0."),
    ] = field(default_factory=list)
    families: Annotated[
        str | None,
        option(
            METHOD,
            "A family for each folder, in order, with commas between (l1,l1,topk): dictionaries that differ only in "
            "sparsity share one. Default: their kind of encoder.",
            metavar="NAMES",
        ),
    ] = None
    text: Annotated[
        str | None,
        option(
            INPUTS,
            "Text to measure on: a document a line, or JSONL with `text`. Default: for the embedded model, text of its "
            "language.",
            metavar="FILE",
        ),
    ] = None
    tokens: Annotated[
        int, option(METHOD, "Read whole pieces of the text, of up to 128 tokens, until this many tokens.", min=2)
    ] = 10_000
    out: Annotated[str, option(OUTPUT, "Folder for the page and the numbers.", metavar="FOLDER")] = "out/quality"

    def __post_init__(self) -> None:
        refuse_missing_file("--text", self.text)
        if self.families is not None and len(self.names_of_families) != 1 + len(self.others):
            raise ValueError(
                f"--families names {len(self.names_of_families)} families for {1 + len(self.others)} folder(s): give "
                "one for each."
            )

    @property
    def names_of_families(self) -> tuple[str, ...]:
        """One for each folder; none where each is its kind of encoder."""
        return tuple(filter(None, map(str.strip, (self.families or "").split(","))))


def quality(console: Console, inputs: QualityInputs, options: QualityOptions) -> None:
    """Say how good dictionaries are: reconstruction, predictions, scale, dead features; families at equal L0."""
    folder = Path(options.out)
    sets = _sets(inputs, options)
    refuse_unwritable(folder / CHUNKS)
    refuse_folders_in_place(folder, tuple(FILES.values()))
    inputs.refuse_no_text("Dictionaries are measured on text", "--text", options.text)
    with console.status("loading"):
        for one in sets.values():
            one.refuse_unreadable()

        from attribution.checking.dictionary_cautions import dictionary_cautions
        from attribution.checking.dictionary_quality import dictionary_quality
        from circuits.commands.quality_output import print_qualities
        from circuits.labels.corpus import refuse_bad_text
        from graphs import save_qualities, write_quality_page

        if options.text is not None:
            refuse_bad_text(options.text)
    found: list[DictionaryQuality] = []
    texts: _Texts | None = None
    with resumable(folder / CHUNKS, resume=options.resume) as store:
        for number, (name, one) in enumerate(sets.items()):
            with console.status(f"loading {name}"):
                spliced = one.load_spliced(None if texts is None else texts.model)
                texts = texts or _Texts.of(spliced.model, options)
            with progress_bar(console, f"{name} on {texts.name}") as told:
                found.append(
                    dictionary_quality(
                        spliced,
                        texts.pieces,
                        text=texts.name,
                        name=name,
                        family=options.names_of_families[number] if options.families else None,
                        memory=options.memory,
                        progress=told,
                    )
                )
            for line in caution_texts(dictionary_cautions(spliced)):
                console.print(line)
        page = partial(write_quality_page, found, title=f"Dictionaries: {', '.join(sets)}")
        write_whole(folder, {FILES["numbers"]: partial(save_qualities, found), FILES["page"]: page})
        files = {what: str(folder / name) for what, name in FILES.items()}
        print_qualities(console, found, rows=options.rows, files=files)
        console.print(chunks_in_words(store), highlight=False)


@dataclass(frozen=True)
class _Texts:
    """The pieces of text that all dictionaries read, and the model whose tokens they are."""

    model: "LanguageModel"
    name: str
    pieces: "list[tuple[int, ...]]"

    @classmethod
    def of(cls, model: "LanguageModel", options: QualityOptions) -> "_Texts":
        """Whole pieces of the text, until they have as many tokens as are asked for."""
        from circuits.labels.corpus import corpus_of

        corpus = corpus_of(options.text, model)
        pieces, count = list[tuple[int, ...]](), 0
        for piece in corpus.pieces():
            if count >= options.tokens:
                break
            pieces.append(piece)
            count += len(piece)
        return cls(model, corpus.name, pieces)


def _sets(inputs: QualityInputs, options: QualityOptions) -> dict[str, QualityInputs]:
    """The inputs of each folder, by its name; by its path where two have one name."""
    given = [folder or DEFAULT_SAES for folder in (inputs.saes, *options.others)]
    if twice := next((folder for folder in given if given.count(folder) > 1), None):
        raise ValueError(f"{twice} is given twice: give each folder once.")
    short = [Path(folder).name for folder in given]
    names = short if len(set(short)) == len(short) else given
    return {name: replace(inputs, saes=folder) for name, folder in zip(names, given, strict=True)}
