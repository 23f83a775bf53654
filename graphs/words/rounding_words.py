"""What a certificate says of rounding: effects that it could have decided, and faithfulness in float64."""

from collections.abc import Iterator
from typing import Final

from graphs.certificate import Certificate
from graphs.nodes import node_name
from graphs.undecided import EffectsInRounding
from graphs.words.certificate_line import NO_RULE, CertificateLine
from graphs.words.number_formats import signed_number

CONFIRMED: Final = 1e-3
"""Faithfulness and completeness that differ by no more from their values in float64 are confirmed."""


def rounding_lines(certificate: Certificate) -> Iterator[CertificateLine]:
    """A line for effects within rounding, if there are any, and one for what float64 confirms, if it was measured."""
    if certificate.rounding is not None:
        yield _effects(certificate.rounding)
    apart = certificate.rounding_of_faithfulness
    if apart is not None:
        yield _faithfulness(certificate, apart)


def _effects(found: EffectsInRounding) -> CertificateLine:
    value = f"{found.undecided:,} undecided of {found.repeated:,} measured again in float64"
    reading = "A gate of these effects stood within rounding of its threshold; float64 decided all of them."
    if found.undecided:
        widest = found.listed[0]
        reading = (
            "Rounding of the weights decides a gate of the undecided effects: they are in no ranking. Furthest apart: "
            f"{node_name(widest.node)} in pair {widest.example}, {signed_number(widest.closed)} or "
            f"{signed_number(widest.opened)}. The circuit's file lists {len(found.listed):,} with both values."
        )
    if found.near:
        value += f", {found.near:,} not measured again"
        reading += (
            f" Only the strongest effects with such a gate were measured again; {found.near:,} weaker ones may be "
            "off by what a gate adds. A model and SAEs in float64 decide them all, at about twice the cost."
        )
    return CertificateLine("effects within rounding", value, reading, "grey", NO_RULE)


def _faithfulness(certificate: Certificate, apart: float) -> CertificateLine:
    reading = "Faithfulness and completeness were measured again in float64; this is the largest difference."
    if apart > CONFIRMED:
        each = "; ".join(f"{of.split} {of.faithfulness:.3f} and {of.completeness:.3f}" for of in certificate.confirmed)
        reading += f" Rounding decides a gate in one of the two. In float64 they are: {each}."
    return CertificateLine(
        name="confirmed in float64",
        value=f"to {apart:.1g}",
        reading=reading,
        colour="green" if apart <= CONFIRMED else "amber",
        rule="green up to 0.001, else amber",
    )
