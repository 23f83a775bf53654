"""A certificate in words and colours: each line has a value, a reading, and a colour that follows a stated rule.

Green: trust it. Amber: take care. Red: do not rely on it. Grey: no judgement, or the value is undefined.

The thresholds of a colour are in the function that makes its line, next to the rule that states them.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from graphs.cautions import Caution
from graphs.certificate import Certificate, SAEQuality, Screening
from graphs.circuit_graph import CircuitGraph, Measurement
from graphs.faithfulness import Faithfulness
from graphs.strongest_edges import left_out_of
from graphs.words.certificate_line import NO_RULE, CertificateLine, Colour
from graphs.words.number_formats import counted_noun
from graphs.words.part_words import part_in_words
from graphs.words.rounding_words import rounding_lines
from graphs.words.site_words import alone_line, kept_in_words, trial_line
from graphs.words.size_words import size_lines, stability_lines
from graphs.words.verdict_words import AT_THRESHOLD

COLOURS: Final[tuple[Colour, ...]] = ("red", "amber", "green", "grey")
"""Worst first."""
COLOUR_MARKS: Final[Mapping[Colour, str]] = {"green": "●", "amber": "▲", "red": "■", "grey": "·"}
"""What stands for a colour in black and white."""


def certificate_lines(circuit: CircuitGraph) -> tuple[CertificateLine, ...]:
    """The lines of a circuit's certificate, in the order in which they should be read.

    A circuit without a certificate has at most one line: which edges were left out of it.
    """
    certificate = circuit.certificate
    if certificate is None:
        return tuple(_left_out(circuit))
    return (
        *map(caution_line, certificate.warnings),
        *(_faithful(f, circuit.measurement) for f in certificate.faithfulness),
        *(_complete(f, circuit.measurement) for f in certificate.faithfulness),
        *alone_line(circuit.measurement, certificate.alone),
        *size_lines(certificate.size_choice),
        *stability_lines(certificate.stability),
        *trial_line(certificate.trial),
        _exact(certificate, circuit.measurement),
        *_screened(certificate.screening),
        _errors(certificate),
        *(_sae(quality) for quality in certificate.quality),
        *_measured(circuit.measurement, certificate),
        *_at_threshold(certificate),
        *rounding_lines(certificate),
        *_left_out(circuit),
        *_missing(certificate),
        *_identity(certificate),
    )


def worst_of(lines: tuple[CertificateLine, ...]) -> Colour:
    """The colour of a certificate as a whole: that of its worst line; grey where there is no line."""
    found = {line.colour for line in lines}
    for colour in COLOURS:
        if colour in found:
            return colour
    return "grey"


def caution_line(caution: Caution) -> CertificateLine:
    """A warning as a line of a certificate."""
    return CertificateLine(
        name=f"warning: {caution.name}",
        value=caution.value,
        reading=caution.sentence,
        colour="red" if caution.is_grave else "amber",
        rule="red where no pair that judges is new, else amber" if caution.kind == "shared_pairs" else "always amber",
    )


def _graded(value: float, good: float, fair: float) -> Colour:
    """Green up to `good`, amber up to `fair`, red above it."""
    return "green" if value <= good else "amber" if value <= fair else "red"


def _faithful(found: Faithfulness, measured: Measurement) -> CertificateLine:
    return CertificateLine(
        name=f"faithfulness, {part_in_words(found.split)}{_from_layer(measured)}",
        value=f"{_number(found.faithfulness)} {_interval(found.low, found.high)}".rstrip(),
        reading=(
            f"With every other node at its {found.reference} value{_kept(measured)}, the circuit restores "
            f"{_percent(found.faithfulness)} of the whole model's effect ({counted_noun(found.pairs, 'pair')})."
        ),
        colour=_graded(abs(1 - found.faithfulness), 0.2, 0.5),
        rule="green within 0.2 of 1, amber within 0.5 of 1",
    )


def _complete(found: Faithfulness, measured: Measurement) -> CertificateLine:
    return CertificateLine(
        name=f"completeness, {part_in_words(found.split)}{_from_layer(measured)}",
        value=f"{_number(found.completeness)} {_interval(found.completeness_low, found.completeness_high)}".rstrip(),
        reading=(
            f"With the circuit at its {found.reference} value{_kept(measured)}, the rest of the model restores "
            f"{_percent(found.completeness)} of the whole model's effect"
            + ("; 0% would mean that nothing outside contributes." if abs(found.completeness) > 0.2 else ".")
        ),
        colour=_graded(abs(found.completeness), 0.2, 0.5),
        rule="green within 0.2 of 0, amber within 0.5 of 0",
    )


def _number(value: float) -> str:
    """Two decimals; zero has no sign."""
    return f"{round(value, 2) + 0:.2f}"


def _percent(share: float) -> str:
    """Whole percent; zero has no sign."""
    return f"{round(100 * share) + 0:d}%"


def _from_layer(measured: Measurement) -> str:
    return "" if measured.from_layer is None else f", from layer {measured.from_layer}"


def _kept(measured: Measurement) -> str:
    kept = kept_in_words(measured.from_layer)
    return "" if kept is None else f" and the {kept}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"[{_number(low)}, {_number(high)}]"


def _exact(certificate: Certificate, measured: Measurement) -> CertificateLine:
    share = certificate.circuit_verified
    return CertificateLine(
        name="node effects",
        value=f"{share:.0%} exact",
        reading=f"{measured.evidence[:1].upper()}{measured.evidence[1:]}.",
        colour="green" if share == 1 else "amber" if share >= 0.5 else "red",
        rule="green if every node was patched in every example, amber from 50%",
    )


def _screened(screening: Screening | None) -> Iterator[CertificateLine]:
    if screening is None:
        return
    wrong = sum(screening.flags.values())
    share = wrong / max(1, screening.verified)
    words = ", ".join(f"{count} {flag.replace('_', ' ')}" for flag, count in sorted(screening.flags.items()))
    yield CertificateLine(
        name="screening",
        value=f"{wrong} of {screening.verified:,} wrong",
        reading=(
            f"{screening.estimate} chose which nodes to patch, counted in every pair. Its estimates of these were "
            f"flagged: {words or 'none'}."
        ),
        colour=_graded(share, 0.01, 0.1),
        rule="green up to 1% of the patched nodes flagged, amber up to 10%",
    )
    if screening.bound is not None:
        bound = screening.bound
        yield CertificateLine(
            name="missed nodes",
            value=f"at most {bound.share:.1%}",
            reading=(
                f"Of the {bound.unverified:,} nodes that were not patched, at most {bound.most_large:,} have an effect "
                f"of {screening.threshold:.3g} or more ({bound.confidence:.0%} confidence, from a random audit of "
                f"{counted_noun(bound.audited, 'node')})."
            ),
            colour=_graded(bound.share, 0.01, 0.05),
            rule="green up to 1% of the nodes that were not patched, amber up to 5%",
        )


def _errors(certificate: Certificate) -> CertificateLine:
    share = certificate.error_share
    if share is None:
        reading = "The share is undefined: SAE errors were removed, or effects are not in units of the metric."
        return CertificateLine("carried by SAE errors", "undefined", reading, "grey", NO_RULE)
    return CertificateLine(
        name="carried by SAE errors",
        value=f"{share:.0%}",
        reading=f"{share:.0%} of the circuit's effect runs through SAE errors, which no feature explains.",
        colour=_graded(share, 0.2, 0.5),
        rule="green up to 20%, amber up to 50%",
    )


def _sae(quality: SAEQuality) -> CertificateLine:
    recovered = quality.ce_recovered
    l0 = sum(site.l0 for site in quality.sites) / len(quality.sites)
    worst = min(quality.sites, key=lambda s: s.ce_recovered if s.ce_recovered is not None else 1.0)
    alone = (
        "" if worst.ce_recovered is None else f" The worst single SAE is at {worst.site} ({worst.ce_recovered:.1%})."
    )
    return CertificateLine(
        name=f"SAEs on {quality.text}",
        value="undefined" if recovered is None else f"{recovered:.1%} of CE",
        reading=(
            f"Spliced in together without their errors, the SAEs raise the cross-entropy by {quality.ce_increase:.3f} "
            f"nats per token (KL {quality.kl:.3f}, {quality.tokens:,} tokens), with {l0:.0f} active features per token "
            f"and site.{alone}"
        ),
        colour="grey" if recovered is None else _graded(1 - recovered, 0.05, 0.2),
        rule="green from 95% of the cross-entropy recovered, amber from 80%",
    )


def _measured(measured: Measurement, certificate: Certificate) -> Iterator[CertificateLine]:
    yield CertificateLine(
        name="total effect",
        value=f"{measured.total_effect:+.3f} {measured.metric_unit}",
        reading=(
            f"{measured.metric.replace('_', ' ').capitalize()} with everything at its {measured.patch_value} value "
            f"minus clean, mean of {counted_noun(measured.examples, 'pair')}."
        ),
        colour="grey",
        rule=NO_RULE,
    )
    yield CertificateLine(
        name="error mode",
        value=measured.error_mode,
        reading="SAE errors are recomputed in every run, so effects pass no gate of an SAE."
        if measured.error_mode == "live"
        else "Effects pass through the SAE encoders, whose gates open and close.",
        colour="grey",
        rule=NO_RULE,
    )
    if measured.residual_median is not None and measured.total_effect != 0:
        share = measured.residual_median / abs(measured.total_effect)
        yield CertificateLine(
            name="residual",
            value=f"{share:.1%}",
            reading=(
                "Median over pairs of |residual|, as a share of the mean total effect; the residual is "
                f"{measured.residual_law}."
            ),
            colour=_graded(share, 0.05, 0.5),
            rule="green up to 5% of the total effect, amber up to 50%",
        )
    if measured.edge_imbalance is not None:
        shown = (
            ""
            if certificate.flow_shown is None
            else (f" The circuit's edges into the metric carry {certificate.flow_shown:.0%} of the total effect.")
        )
        yield CertificateLine(
            name="edges",
            value=f"{measured.edge_method}, balanced to {measured.edge_imbalance:.1g}",
            reading=(
                "What enters a node plus its own jump equals what it carries, up to that share of the total "
                f"effect.{shown}"
            ),
            colour=_graded(measured.edge_imbalance, 1e-3, 1e-2),
            rule="green up to 0.1% of the total effect, amber up to 1%",
        )
    elif measured.edge_method is not None:
        yield CertificateLine(
            name="edges",
            value=measured.edge_method,
            reading="First-order estimates: the edges into a node do not add up to what it carries.",
            colour="amber",
            rule="always amber: no conservation law holds for such edges",
        )


def _at_threshold(certificate: Certificate) -> Iterator[CertificateLine]:
    if certificate.gates_at_threshold:
        reading = f"{AT_THRESHOLD[0].upper()}{AT_THRESHOLD[1:]}."
        yield CertificateLine(
            "gates at their threshold", f"{certificate.gates_at_threshold:,}", reading, "grey", NO_RULE
        )


def _left_out(circuit: CircuitGraph) -> Iterator[CertificateLine]:
    """What `keep_edges` left out, if anything."""
    found = left_out_of(circuit)
    if found is not None:
        yield CertificateLine(
            "edges left out", f"{found.weight_share:.1%} of Σ|weight|", found.sentence, "grey", NO_RULE
        )


def _missing(certificate: Certificate) -> Iterator[CertificateLine]:
    for name, reason in (certificate.missing or {}).items():
        sentence = f"{reason[:1].upper()}{reason[1:]}".rstrip(".")
        yield CertificateLine(name, "not measured", f"{sentence}.", "amber", "always amber: unknown")


def _identity(certificate: Certificate) -> Iterator[CertificateLine]:
    saes = certificate.hashes["saes"]
    yield CertificateLine(
        name="inputs",
        value=f"model {certificate.hashes['model'][:12]}",
        reading=(
            f"{counted_noun(len(saes), 'SAE')}, prompts {certificate.hashes['prompts'][:12]}. The start of each "
            "SHA-256; the circuit's file has all of it."
        ),
        colour="grey",
        rule=NO_RULE,
    )
