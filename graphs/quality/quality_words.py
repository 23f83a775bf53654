"""The quality of dictionaries in words: a sentence, tables and what their columns mean, for terminal and page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from graphs.nodes import short_site
from graphs.quality.dictionary_quality import DENSE, DictionaryAtSite, DictionaryQuality, Histogram, SpliceQuality
from graphs.quality.equal_l0 import AtEqualL0, compare_at_equal_l0
from graphs.words.number_formats import counted_noun

_BARS: Final = " ▁▂▃▄▅▆▇█"
NOT_COMPARED: Final = "No two families reach the same L0, so none is compared."


@dataclass(frozen=True)
class QualityTable:
    """A table of plain text: its title, heads and rows, and what its columns mean. The first column is a name."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str


def quality_headline(quality: DictionaryQuality) -> str:
    """What all dictionaries together do to the model, in one sentence that begins with their name."""
    own, count = quality.together, len(quality.sites)
    who = (
        f"all {count} dictionaries together" if count > 1 else f"the dictionary at {short_site(quality.sites[0].site)}"
    )
    shares = ", ".join(
        f"{share:.1%} of {what} ablation"
        for what, share in (("zero", own.ce_recovered_of_zero), ("mean", own.ce_recovered_of_mean))
        if share is not None
    )
    verb = "raise" if count > 1 else "raises"
    return (
        f"{quality.name}: {who} {verb} the cross-entropy of the next token by {own.ce_increase:.3f} nats"
        f"{shares and f' (CE recovered: {shares})'}, "
        f"and {'stand' if count > 1 else 'stands'} {own.kl:.3f} nats from the model (KL)."
    )


def about_the_text(quality: DictionaryQuality) -> str:
    """What was read and predicted."""
    return (
        f"On {quality.text}: {counted_noun(quality.positions, 'position')} read, "
        f"{counted_noun(quality.tokens, 'next token')} predicted; "
        f"cross-entropy of the model {quality.ce_model:.3f} nats."
    )


def quality_tables(quality: DictionaryQuality) -> tuple[QualityTable, ...]:
    """Reconstruction, predictions, and the encoders' parameters."""
    return _reconstruction(quality), _predictions(quality), _parameters(quality)


def _reconstruction(quality: DictionaryQuality) -> QualityTable:
    return QualityTable(
        title="What is reconstructed",
        heads=("site", "features", "L0", "FVU", "cosine", "γ", "ρ", "ρ / γ", "dead", "dense"),
        rows=tuple(
            (
                short_site(at.site),
                f"{at.features:,}",
                f"{at.l0:.1f}",
                _number(at.fvu, 4),
                _number(at.cosine, 4),
                _number(at.gamma, 3),
                _number(at.rho, 3),
                _number(_at_best_scale(at), 3),
                _share(len(at.dead), at.features),
                _share(len(at.dense), at.features),
            )
            for at in quality.sites
        ),
        note=(
            "FVU = Σ|x − x̂|² / Σ|x − mean x|². γ = E|x̂|² / E⟨x̂, x⟩ is the scale of x̂: 1 is unbiased, below 1 is "
            "shrinkage. ρ = E⟨x̂, x⟩ / E|x|² is what x̂ carries of x: below 1 for every imperfect dictionary, and ρ / γ "
            "is what it is at the best scale. dead: never active on this text; dense: at more than "
            f"{DENSE:.0%} of positions."
        ),
    )


def _at_best_scale(at: DictionaryAtSite) -> float | None:
    return at.rho / at.gamma if at.gamma and at.rho is not None else None


def _predictions(quality: DictionaryQuality) -> QualityTable:
    rows = [(short_site(at.site), at.alone) for at in quality.sites]
    if len(rows) > 1:
        rows.append((f"all {len(rows)} together", quality.together))
    return QualityTable(
        title="What it does to predictions",
        heads=(
            *("spliced at", "ΔCE", "CE recovered (zero)", "CE recovered (mean)"),
            *("KL", "KL recovered (zero)", "KL recovered (mean)"),
        ),
        rows=tuple((name, *_of_splice(own)) for name, own in rows),
        note=(
            "In nats per predicted token. ΔCE: cross-entropy of the next token of the text − that of the model. "
            "KL(model ‖ spliced): how far predictions are from the model's own; it is 0 only for the model itself, "
            "while ΔCE may even be negative. Recovered: the share of what the site costs at 0, or at its mean."
        ),
    )


def _of_splice(own: SpliceQuality) -> tuple[str, ...]:
    return (
        f"{own.ce_increase:+.4f}".replace("-", "−"),
        _percent(own.ce_recovered_of_zero),
        _percent(own.ce_recovered_of_mean),
        _number(own.kl, 4),
        _percent(own.kl_recovered_of_zero),
        _percent(own.kl_recovered_of_mean),
    )


def _parameters(quality: DictionaryQuality) -> QualityTable:
    return QualityTable(
        title="Biases and thresholds",
        heads=("of", "least", "median", "largest", "features from least to largest"),
        rows=tuple(
            (f"{short_site(at.site)} {name}", *map(_short, (own.least, own.median, own.largest)), bars(own))
            for at in quality.sites
            for name, own in at.parameters.items()
        ),
        note="Every feature has one of each; the bars count features, the highest bar is the most frequent value.",
    )


def equal_l0_table(qualities: Sequence[DictionaryQuality]) -> QualityTable:
    """Families at the L0 of every dictionary, less is better; no rows where no two can be compared."""
    families = tuple(dict.fromkeys(quality.family for quality in qualities))
    return QualityTable(
        title="At equal L0",
        heads=("at the L0 of", "L0", "measure", *families),
        rows=tuple(_equal_row(found, families) for found in compare_at_equal_l0(qualities)),
        note=(
            "Less is better. Families are compared at the L0 of each dictionary, never at different ones: on the line "
            "between their dictionaries just below and above it. –: none of them lie on both sides."
        ),
    )


def _equal_row(found: AtEqualL0, families: Sequence[str]) -> tuple[str, ...]:
    values = (_number(found.values.get(family), 4) for family in families)
    return (f"{found.of}, {short_site(found.site)}", f"{found.l0:.1f}", found.measure, *values)


def bars(histogram: Histogram) -> str:
    """A histogram as a line of block characters; what is there at all shows."""
    most = max(histogram.counts, default=0)
    steps = len(_BARS) - 1
    return "".join(_BARS[-(-count * steps // most) if most else 0] for count in histogram.counts)


def _number(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:.{decimals}f}".replace("-", "−")


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}".replace("-", "−")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}".replace("-", "−")


def _share(count: int, whole: int) -> str:
    return f"{count:,} ({count / whole:.0%})"
