"""Features found by what they do, with the numbers that they were found by."""

from dataclasses import dataclass

from graphs.short_repr import cut


@dataclass(frozen=True)
class FoundFeature:
    """One feature. Numbers of criteria that were not asked for are None.

    Attributes:
        promoted: the logit that its decoder direction alone gives the token (at root mean square 1), minus the mean
            over the vocabulary.
        head: the head that writes most of it from the token.
        share: how much of what raises the projection on its encoder direction, where it fires, that head writes from
            the token (`WritingPart.share`).
        precision: share of the places where it fires that lie inside the matches.
        recall: share of the tokens inside on which it fires.
        fires: places where it fires; None where no text was read.
    """

    site: str
    index: int
    promoted: float | None = None
    head: int | None = None
    share: float | None = None
    precision: float | None = None
    recall: float | None = None
    fires: int | None = None

    @property
    def name(self) -> str:
        """Site and index, as in `blocks.3.hook_mlp_out/117`."""
        return f"{self.site}/{self.index}"

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall; None where it was not asked for."""
        if self.precision is None or self.recall is None:
            return None
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


@dataclass(frozen=True)
class FeatureSearch:
    """What a search found, the best first.

    A feature's place is the worst of its places by each criterion that was asked for: by the promoted logit, by the
    share, and by the harmonic mean of precision and recall.

    Attributes:
        promotes, written_from, fires: what was asked for, in words; None where it was not.
        corpus, tokens: the text that was read, and its tokens where SAEs are spliced in; None and 0 where none was.
        base: share of all tokens that lie inside the matches; None where that was not asked for.
        searched: the number of features that were compared.
    """

    model: str
    promotes: str | None
    written_from: str | None
    fires: str | None
    corpus: str | None
    tokens: int
    base: float | None
    searched: int
    features: tuple[FoundFeature, ...]

    def __repr__(self) -> str:
        asked = {"promotes": self.promotes, "written from": self.written_from, "fires": self.fires}
        what = ", ".join(f"{name} {text!r}" for name, text in asked.items() if text is not None)
        first = f", first {self.features[0].name}" if self.features else ""
        return cut(f"FeatureSearch({what}: {len(self.features)} of {self.searched:,} features{first})")
