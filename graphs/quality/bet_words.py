"""Who wins the bet on searched codes, in a sentence, and how much their features are those of the encoder."""

from typing import Final

from graphs.quality.threshold_rounding import Bet, Outcome, ThresholdRounding

CODES_IN_WORDS: Final = {"encoder": "encoder", "refitted": "encoder's support, refitted", "pursuit": "ITO"}

_OUTCOMES: Final[dict[Outcome, str]] = {
    "won": "The bet is won: the lead of ITO is one of small activations",
    "lost": "The bet is lost: the lead of ITO is not one of small activations",
    "open": "The bet is open: part of the lead of ITO is one of small activations",
    "void": "The bet is void: ITO has no lead",
}


def bet_in_words(bet: Bet) -> str:
    """The outcome, with the lead before rounding and after it."""
    before, after = (f"{lead:+.2g}{_UNITS[bet.measure]}" for lead in (bet.lead, bet.lead_left))
    return (
        f"{_OUTCOMES[bet.outcome]} ({bet.measure} of the encoder − that of ITO: {before}; {after} with activations "
        f"below {bet.share:g} of the mean set to 0)"
    )


_UNITS: Final = {"FVU": "", "CE increase": " nats", "KL": " nats"}


def choices_in_words(found: ThresholdRounding) -> str:
    """How many features the two share, and how orthogonal a choice is to those before it."""
    sites = len(found.choices)
    same = sum(choice.same for choice in found.choices) / sites
    step = min(10, *(len(own) for c in found.choices for own in (c.novelty, c.encoder_novelty)))
    pursuit, encoder = (
        sum(own[step - 1] for own in column) / sites
        for column in ([c.novelty for c in found.choices], [c.encoder_novelty for c in found.choices])
    )
    return (
        f"{same:.0%} of ITO's features are the encoder's, too. Of its choice number {step} those before leave "
        f"{pursuit:.2f} (1: orthogonal); of the encoder's feature of that rank {encoder:.2f}"
    )
