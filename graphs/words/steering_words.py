"""A sweep over steering strengths in words: its headline, and its table as the terminal and the page show it."""

from graphs.sweeps.steering_sweep import SteeringSweep
from graphs.words.number_formats import counted_noun, signed_number

_WHEN = {
    "always": "at every position, where none is named",
    "prompt": "at the prompt's positions, where none is named",
    "generating": "from the prompt's last position on, where none is named",
}


def steering_headline(sweep: SteeringSweep) -> str:
    """How far the metric goes over the strengths, and what it costs."""
    first, last, bare = sweep.strengths[0], sweep.strengths[-1], sweep.unsteered
    ends = [found for found in (first, last) if found is not bare]
    parts = [f"{signed_number(found.mean_metric)} at strength {strength_in_words(found.strength)}" for found in ends]
    text = f"{sweep.metric}: {signed_number(bare.mean_metric)} {sweep.unit} unsteered"
    text += "".join(f", {part}" for part in parts)
    if bare.fluency is None or not ends:
        return text
    worst = max(found.fluency or 0.0 for found in ends)
    return f"{text}; fluency {bare.fluency:.2f}, at worst {worst:.2f} nats per token there"


def steering_facts(sweep: SteeringSweep) -> str:
    """What was done to what."""
    what = f"{counted_noun(len(sweep.changes), 'change')}, {_WHEN[sweep.when]}; {sweep.error_mode} errors"
    text = f"; general text: {counted_noun(sweep.documents, 'document')}" if sweep.documents else ""
    return f"{what}; {counted_noun(len(sweep.prompts), 'prompt')}{text}"


def changes_in_words(sweep: SteeringSweep) -> list[str]:
    """Each change, with its maximum where it counts maxima, and whether it changed nothing."""
    found: list[str] = []
    for change in sweep.changes:
        unit = f", max {sweep.maxima[change]:.3g}" if change in sweep.maxima else ""
        idle = ", which changed nothing here" if change in sweep.idle else ""
        found.append(f"{change}{unit}{idle}")
    return found


def steering_table(sweep: SteeringSweep) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heads and rows: a row for each strength. Columns that nothing was measured for are left out."""
    rows = [
        (
            strength_in_words(found.strength),
            signed_number(found.mean_metric),
            f"{found.mean_kl:.4f}",
            None if found.fluency is None else f"{found.fluency:.3f}",
            None if found.text_kl is None else f"{found.text_kl:.4f}",
            None if found.text_cross_entropy is None else f"{found.text_cross_entropy:.3f}",
        )
        for found in sweep.strengths
    ]
    heads = ("strength", sweep.metric, "KL", "fluency", "KL on text", "CE of text")
    kept = [column for column in range(len(heads)) if rows[0][column] is not None]
    return tuple(heads[c] for c in kept), [tuple(row[c] or "" for c in kept) for row in rows]


STEERING_NOTE = (
    "Means over prompts. KL: of the unsteered from the steered next token where the metric is read, in nats. Fluency: "
    "cross-entropy of the generated text in the unsteered model, in nats per token; lower is more fluent. On text: "
    "general text, the nodes changed at every position, in nats per token."
)
"""What the columns mean."""


def strength_in_words(strength: float) -> str:
    """`−0.5`."""
    return f"{strength:g}".replace("-", "−")
