"""What a feature's report says in sentences, for the terminal and the page."""

from typing import Final

from graphs.features.feature_report import FeatureReport, ReadingFeature, TextEffect, TriggerTest, WritingPart
from graphs.nodes import short_site
from graphs.words.number_formats import counted_noun, signed_number

NEVER_FIRES: Final = "It never fires on this text, so there is nothing to test, to continue or to read."
WRITING_RULE: Final = (
    "share: of what raises the projection on its encoder direction where it fires, above its mean over all tokens; the "
    "shares of all parts add up to 100%. Exact."
)
NO_WRITERS: Final = (
    "Heads and source tokens cannot be told apart here: the neurons of an MLP are not linear in what they read."
)
NO_CONTRAST: Final = "It fires nowhere, or everywhere: nothing tells where it fires from where it does not."
READING_RULE: Final = (
    "lost when it is ablated, for each place where it fires, in units of the reader's activation; direct: all sites in "
    "between held; total: everything reacts, and as a share of the reader's whole activation in these texts."
)
SEARCH_FIRES: Final = (
    "precision: share of the places where it fires that lie inside; recall: share of the tokens inside on which it "
    "fires."
)
INSIDE_RULE: Final = f"{SEARCH_FIRES.rstrip('.')}; base: the precision of a feature that fires anywhere."
PROMOTED_RULE: Final = "logits of its decoder direction alone, minus their mean over the vocabulary"
CHANGED_RULE: Final = (
    "change of the next token's logits where it fires, measured by ablating it, minus the mean over the vocabulary"
)


def fires_in_words(report: FeatureReport) -> str:
    """How often it is active, on which text."""
    mean = report.label.mean_activation
    size = "" if mean is None else f", {mean:.2f} on average"
    return f"active on {share_in_words(report.label.frequency)} of {report.tokens:,} tokens{size}; {report.corpus}"


def share_in_words(share: float | None) -> str:
    """A percentage with three digits at most; a dash where it is undefined."""
    if share is None:
        return "–"
    text = f"{share:.1%}" if share == 0 or abs(share) >= 0.001 else f"{100 * share:.1g}%"
    return text.replace("-", "−")


def part_in_words(part: WritingPart) -> str:
    """The name of what writes it."""
    where = {
        "head": f"head {part.layer}.{part.head}",
        "mlp": f"MLP {part.layer}",
        "embedding": "embedding of the token itself",
        "biases": "biases of attention",
    }
    return where[part.kind]


def reader_in_words(reader: ReadingFeature) -> str:
    """A reader's short name."""
    return short_site(reader.name)


def no_writers_because(report: FeatureReport) -> str:
    """Why there is no list of what writes it."""
    return NO_CONTRAST if report.label.frequency in (0, 1) else NO_WRITERS


def verdict_in_words(test: TriggerTest) -> str:
    """Whether the causal test holds, and if not, why."""
    if test.holds:
        return "The causal test holds."
    if test.largest is None:
        return "The causal test is one-sided: the text has no prompt in which the feature never fires."
    if test.largest:
        return "The causal test fails: logits change where the feature never fires."
    if test.promoted is None:
        return "The causal test is one-sided: the direction is not added to the residual stream and promotes no token."
    return "The causal test does not hold: without it, the tokens that its direction promotes do not fall."


def firing_side(test: TriggerTest, tokens: int) -> str:
    """What the ablation does in prompts that end where it fires."""
    start = f"Where it fires ({counted_noun(test.prompts, 'prompt')}): "
    if test.promoted is None:
        return f"{start}the tokens whose logits change most are listed."
    moves = "fall" if test.promoted > 0 else "rise"
    return (
        f"{start}without it the logits of the {tokens} tokens that it promotes {moves} by {abs(test.promoted):.3g} on "
        f"average; they fall in {test.fell} of {test.prompts}."
    )


def silent_side(test: TriggerTest) -> str:
    """What the ablation does in prompts in which it never fires."""
    if test.largest is None:
        return "There is no prompt in which it never fires."
    alike = f"{test.alike} with the same last token" if test.alike else "none with the same last token"
    start = f"Where it never fires ({counted_noun(test.silent, 'prompt')}, {alike}): "
    return start + ("no logit changes at all." if test.largest == 0 else f"logits change by up to {test.largest:.3g}.")


def text_in_words(text: TextEffect) -> str:
    """What the ablation does to text."""
    start = f"Ablated everywhere in {counted_noun(text.documents, 'document')} ({text.tokens:,} predicted tokens): "
    if text.kl_per_firing is None:
        return f"{start}it fires nowhere there, and nothing changes."
    before, after = text.cross_entropy_before, text.cross_entropy_after
    return (
        f"{start}KL {text.kl:.2g} nats per token, {text.kl_per_firing:.2g} for each of the {text.firings:,} places "
        f"where it fires; cross-entropy {before:.3f} → {after:.3f} nats per token ({signed_number(after - before)})."
    )
