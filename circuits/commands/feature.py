"""`jumpwire feature`: everything about one feature, as a page; or the features that do what is asked for."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console

from circuits.commands.shared.inputs import ModelInputs
from circuits.commands.shared.options import OUTPUT, MemoryOptions, option, refuse_missing_file
from circuits.terminal.cautions import caution_texts
from circuits.terminal.progress import progress_bar
from circuits.terminal.whole_run import write_whole
from graphs.files.whole_file import refuse_unwritable

if TYPE_CHECKING:
    from attribution.splice.spliced_model import SplicedModel

TEXT: Final = "Text"
SEARCH: Final = "Search"
DOCUMENTS: Final = 300
"""Documents of the embedded language that are read where no other text is given."""
_FOUND: Final = "search.json"


@dataclass(frozen=True)
class FeatureOptions(MemoryOptions):
    """Which feature, or what the features do; on which text."""

    feature: Annotated[
        str | None, typer.Argument(metavar="[FEATURE]", help="The feature, as in blocks.3.hook_attn_out/490.")
    ] = None
    promotes: Annotated[
        str | None,
        option(SEARCH, "Instead: features whose direction promotes this token, as in '?'.", metavar="TOKEN"),
    ] = None
    written_from: Annotated[
        str | None,
        option(SEARCH, "Instead: features that a head writes from this token, as in ' which'.", metavar="TOKEN"),
    ] = None
    fires: Annotated[
        str | None,
        option(
            SEARCH,
            "Instead: features that fire inside quotes, brackets, question, exclamation, number, or the matches of a "
            "regular expression (of its groups, if it has any).",
            metavar="CONTEXT",
        ),
    ] = None
    least: Annotated[int, option(SEARCH, "Leave out features that fire at fewer places than this.", min=1)] = 10
    rows: Annotated[int, option(SEARCH, "Features to find.", min=1, max=10_000)] = 20
    corpus: Annotated[
        str | None,
        option(
            TEXT,
            "Text to read: a document a line, or JSONL with `text`. Default for the embedded model: its language.",
            metavar="FILE",
        ),
    ] = None
    cache: Annotated[str, option(OUTPUT, "Folder that remembers labels between runs.", metavar="FOLDER")] = (
        "out/label_cache"
    )
    out: Annotated[str, option(OUTPUT, "Folder for the page and the JSON file.", metavar="FOLDER")] = "out/features"

    def __post_init__(self) -> None:
        if (self.feature is not None) == self.searches:
            raise ValueError(
                "Give one feature, as in blocks.3.hook_attn_out/490, or what features do: --promotes, --written-from "
                "or --fires, or several of these."
            )
        refuse_missing_file("--corpus", self.corpus)

    @property
    def searches(self) -> bool:
        """Whether features are looked for."""
        return any(given is not None for given in (self.promotes, self.written_from, self.fires))

    @property
    def reads_text(self) -> bool:
        """False only where the promoted token alone is asked for."""
        return self.feature is not None or self.written_from is not None or self.fires is not None


def feature(console: Console, inputs: ModelInputs, options: FeatureOptions) -> None:
    """Say what one feature does and test it, on a page; or find features by what they do."""
    folder = Path(options.out)
    for place in (folder, Path(options.cache)):
        refuse_unwritable(place)
    if options.reads_text:
        inputs.refuse_no_text("What a feature does is read off text", "--corpus", options.corpus)
    with console.status("loading"):
        inputs.refuse_unreadable()

        from attribution.checking.dictionary_cautions import dictionary_cautions
        from circuits.labels.corpus import refuse_bad_text
        from circuits.labels.own_labels import feature_place

        asked = None if options.feature is None else feature_place(options.feature)
        if options.corpus is not None:
            refuse_bad_text(options.corpus)
        if options.fires is not None:
            from circuits.features.spans import spans_of

            spans_of(options.fires)
    with console.status("loading the model and its SAEs"):
        spliced = inputs.load_spliced()
    for line in caution_texts(dictionary_cautions(spliced)):
        console.print(line)
    if asked is None:
        _search(console, spliced, options, folder)
    else:
        _report(console, spliced, *asked, options, folder)


def _report(
    console: Console, spliced: "SplicedModel", site: str, index: int, options: FeatureOptions, folder: Path
) -> None:
    from circuits.features.feature_output import print_report
    from circuits.features.feature_report import feature_report
    from circuits.labels.corpus import corpus_of
    from graphs.features.feature_json import save_feature_report
    from graphs.page.feature_page import write_feature_page

    corpus = corpus_of(options.corpus, spliced.model, DOCUMENTS)
    with progress_bar(console, f"{site}/{index}") as bar:
        report = feature_report(
            spliced,
            site,
            index,
            corpus,
            cache=options.cache,
            memory=options.memory,
            progress=bar,
            enters=lambda stage, _: bar.enters(stage),
        )
    name = f"{report.label.site}-{index}"
    files = {
        f"{name}.json": partial(save_feature_report, report),
        f"{name}.html": partial(write_feature_page, report),
    }
    write_whole(folder, files)
    print_report(console, report, written=tuple(str(folder / file) for file in files))


def _search(console: Console, spliced: "SplicedModel", options: FeatureOptions, folder: Path) -> None:
    from circuits.features.feature_output import print_search
    from circuits.features.search import find_features
    from circuits.labels.corpus import corpus_of
    from graphs.features.feature_json import save_feature_search

    corpus = corpus_of(options.corpus, spliced.model, DOCUMENTS) if options.reads_text else None
    with progress_bar(console, "looking for features" if corpus is None else f"reading {corpus.name}") as bar:
        found = find_features(
            spliced,
            corpus,
            promotes=options.promotes,
            written_from=options.written_from,
            fires=options.fires,
            count=options.rows,
            least=options.least,
            memory=options.memory,
            progress=bar,
        )
    write_whole(folder, {_FOUND: partial(save_feature_search, found)})
    print_search(console, found, written=str(folder / _FOUND))
