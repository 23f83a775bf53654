"""A certificate in plain language: each line has a value, a reading and a colour by a stated rule.

Green: trust it. Amber: mind it. Red: do not rely on it. Grey: no judgement, or not measured.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from graphs.certificate import Certificate, SAEQuality, Screening
from graphs.circuit_graph import CircuitGraph, Measurement
from graphs.faithfulness import Faithfulness
from graphs.strongest_edges import left_out_of
from graphs.words.verdict_words import AT_THRESHOLD

Colour = Literal["green", "amber", "red", "grey"]
COLOURS: Final[tuple[Colour, ...]] = ("red", "amber", "green", "grey")
"""The worst first."""
MARKS: Final[Mapping[Colour, str]] = {"green": "●", "amber": "▲", "red": "■", "grey": "·"}
"""A colour without colour."""

NO_RULE: Final = "no rule: a fact, not a judgement"


@dataclass(frozen=True)
class Line:
    """One line: what it is about, its value, how to read it, its colour and the rule the colour follows."""

    name: str
    value: str
    reading: str
    colour: Colour
    rule: str


def certificate_lines(circuit: CircuitGraph) -> tuple[Line, ...]:
    """Every line of a circuit's certificate, in the order people should read them.

    Without a certificate: what edges were left out, if any.
    """
    certificate = circuit.certificate
    if certificate is None:
        return tuple(_left_out(circuit))
    return (
        *(_faithful(f) for f in certificate.faithfulness),
        *(_complete(f) for f in certificate.faithfulness),
        _exact(certificate, circuit.measurement),
        *_screened(certificate.screening),
        _errors(certificate),
        *(_sae(quality) for quality in certificate.quality),
        *_measured(circuit.measurement, certificate),
        *_at_threshold(certificate),
        *_left_out(circuit),
        *_missing(certificate),
        *_identity(certificate),
    )


def worst_of(lines: tuple[Line, ...]) -> Colour:
    """The colour of the whole: that of its worst line."""
    found = {line.colour for line in lines}
    for colour in COLOURS:
        if colour in found:
            return colour
    return "grey"


def _graded(value: float, good: float, fair: float) -> Colour:
    """Green up to `good`, amber up to `fair`, red beyond."""
    return "green" if value <= good else "amber" if value <= fair else "red"


def _faithful(found: Faithfulness) -> Line:
    return Line(
        name=f"faithfulness, {_split(found)}",
        value=f"{_number(found.faithfulness)} {_interval(found.low, found.high)}".rstrip(),
        reading=(
            f"With all else at its {found.reference} value, the circuit restores {_percent(found.faithfulness)} of the "
            f"gap to the whole model ({found.pairs} pairs)."
        ),
        colour=_graded(abs(1 - found.faithfulness), 0.2, 0.5),
        rule="green within 0.2 of 1, amber within 0.5",
    )


def _complete(found: Faithfulness) -> Line:
    return Line(
        name=f"completeness, {_split(found)}",
        value=f"{_number(found.completeness)} {_interval(found.completeness_low, found.completeness_high)}".rstrip(),
        reading=(
            f"Without the circuit, the rest of the model restores {_percent(found.completeness)} of the gap"
            + ("; 0 means that nothing outside does the task." if abs(found.completeness) > 0.2 else ".")
        ),
        colour=_graded(abs(found.completeness), 0.2, 0.5),
        rule="green within 0.2 of 0, amber within 0.5",
    )


def _number(value: float) -> str:
    """Two digits, without a minus before 0."""
    return f"{round(value, 2) + 0:.2f}"


def _percent(share: float) -> str:
    """Whole percent, without a minus before 0."""
    return f"{round(100 * share) + 0:d}%"


def _split(found: Faithfulness) -> str:
    return {"own": "its own prompts"}.get(found.split, found.split.replace("_", " "))


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{_number(low)}, {_number(high)}]"


def _exact(certificate: Certificate, measured: Measurement) -> Line:
    share = certificate.circuit_verified
    return Line(
        name="effects of its nodes",
        value=f"{share:.0%} exact",
        reading=f"{measured.evidence[0].upper()}{measured.evidence[1:]}.",
        colour="green" if share == 1 else "amber" if share >= 0.5 else "red",
        rule="green if every node of the circuit was patched in every example, amber from half of them on",
    )


def _screened(screening: Screening | None) -> Iterator[Line]:
    if screening is None:
        return
    wrong = sum(screening.flags.values())
    share = wrong / max(1, screening.verified)
    words = ", ".join(f"{count} {flag.replace('_', ' ')}" for flag, count in sorted(screening.flags.items()))
    yield Line(
        name="screening",
        value=f"{wrong} of {screening.verified:,} wrong",
        reading=f"{screening.estimate} chose which nodes to patch. Where checked it was wrong on {words or 'none'}.",
        colour=_graded(share, 0.01, 0.1),
        rule="green up to 1% of the checked nodes flagged, amber up to 10%",
    )
    if screening.bound is not None:
        bound = screening.bound
        yield Line(
            name="missed nodes",
            value=f"at most {bound.share:.1%}",
            reading=(
                f"Of the {bound.unverified:,} nodes that screening left, at most {bound.most_large:,} have an effect "
                f"of {screening.threshold:.3g} or more ({bound.confidence:.0%} sure, by an audit of {bound.audited})."
            ),
            colour=_graded(bound.share, 0.01, 0.05),
            rule="green up to 1% of the nodes that were not patched, amber up to 5%",
        )


def _errors(certificate: Certificate) -> Line:
    share = certificate.error_share
    if share is None:
        reading = "Errors were removed, or effects are not in units of the metric: no share can be given."
        return Line("carried by SAE errors", "undefined", reading, "grey", NO_RULE)
    return Line(
        name="carried by SAE errors",
        value=f"{share:.0%}",
        reading=f"{share:.0%} of the circuit's effect runs through what the SAEs leave out, which no feature explains.",
        colour=_graded(share, 0.2, 0.5),
        rule="green up to 20%, amber up to 50%",
    )


def _sae(quality: SAEQuality) -> Line:
    recovered = quality.ce_recovered
    l0 = sum(site.l0 for site in quality.sites) / len(quality.sites)
    worst = min(quality.sites, key=lambda s: s.ce_recovered if s.ce_recovered is not None else 1.0)
    alone = "" if worst.ce_recovered is None else f" The worst alone is {worst.site} ({worst.ce_recovered:.1%})."
    return Line(
        name=f"SAEs on {quality.text}",
        value="undefined" if recovered is None else f"{recovered:.1%} of CE",
        reading=(
            f"Together and without their errors, the SAEs cost {quality.ce_increase:.3f} nats a token (KL "
            f"{quality.kl:.3f}, {quality.tokens:,} tokens) at {l0:.0f} active features a site.{alone}"
        ),
        colour="grey" if recovered is None else _graded(1 - recovered, 0.05, 0.2),
        rule="green from 95% of the cross-entropy recovered on, amber from 80%",
    )


def _measured(measured: Measurement, certificate: Certificate) -> Iterator[Line]:
    yield Line(
        name="total effect",
        value=f"{measured.total_effect:+.3f} {measured.metric_unit}",
        reading=(
            f"Mean of {measured.metric} over {measured.examples} pair(s), everything at its patch value "
            f"({measured.patch_value}) minus clean."
        ),
        colour="grey",
        rule=NO_RULE,
    )
    yield Line(
        name="error mode",
        value=measured.error_mode,
        reading="What the SAEs leave out is computed anew in every run: effects meet no gate."
        if measured.error_mode == "live"
        else "Effects pass through the encoders, whose gates open and close.",
        colour="grey",
        rule=NO_RULE,
    )
    if measured.residual_median is not None and measured.total_effect != 0:
        share = measured.residual_median / abs(measured.total_effect)
        yield Line(
            name="residual",
            value=f"{share:.1%}",
            reading=f"Median size, as a share of the mean total effect, of: {measured.residual_law}.",
            colour=_graded(share, 0.05, 0.5),
            rule="green up to 5% of the total effect, amber up to 50%",
        )
    if measured.edge_imbalance is not None:
        shown = (
            ""
            if certificate.flow_shown is None
            else (f" The edges shown into the metric carry {certificate.flow_shown:.0%} of the total effect.")
        )
        yield Line(
            name="edges",
            value=f"{measured.edge_method}, balanced to {measured.edge_imbalance:.1g}",
            reading=f"What enters a node and its own jump add up to what it carries, up to that share of all.{shown}",
            colour=_graded(measured.edge_imbalance, 1e-3, 1e-2),
            rule="green up to 0.1% of the total effect, amber up to 1%",
        )
    elif measured.edge_method is not None:
        yield Line(
            name="edges",
            value=measured.edge_method,
            reading="First-order estimates: edges into a node do not add up to what it carries.",
            colour="amber",
            rule="amber: no law holds for them",
        )


def _at_threshold(certificate: Certificate) -> Iterator[Line]:
    if certificate.gates_at_threshold:
        reading = f"{AT_THRESHOLD[0].upper()}{AT_THRESHOLD[1:]}."
        yield Line("gates at their threshold", f"{certificate.gates_at_threshold:,}", reading, "grey", NO_RULE)


def _left_out(circuit: CircuitGraph) -> Iterator[Line]:
    """What `keep_edges` left out."""
    found = left_out_of(circuit)
    if found is not None:
        yield Line("edges left out", f"{found.weight_share:.1%} of Σ|weight|", found.sentence, "grey", NO_RULE)


def _missing(certificate: Certificate) -> Iterator[Line]:
    for name, reason in (certificate.missing or {}).items():
        sentence = f"{reason[0].upper()}{reason[1:]}".rstrip(".")
        yield Line(name, "not measured", f"{sentence}.", "amber", "amber: unknown")


def _identity(certificate: Certificate) -> Iterator[Line]:
    saes = certificate.hashes["saes"]
    yield Line(
        name="made from",
        value=f"model {certificate.hashes['model'][:12]}",
        reading=f"{len(saes)} SAEs, prompts {certificate.hashes['prompts'][:12]} (sha256; in full in the file).",
        colour="grey",
        rule=NO_RULE,
    )
