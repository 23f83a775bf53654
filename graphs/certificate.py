"""Certificate: the numbers from which a reader decides how far to trust a circuit.

Part of every circuit. What was not measured is None or empty, and `missing` says why. `words/certificate_words.py`
turns the numbers into lines with a reading and a colour.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from graphs.cautions import Caution, caution_from_plain
from graphs.faithfulness import Faithfulness, FaithfulnessCurve
from graphs.fields.quantities import Count, Magnitude, Share, check_parts
from graphs.plain_data import dataclass_from_plain
from graphs.short_repr import short_repr
from graphs.site_trial import TrialOfSites, trial_from_plain
from graphs.undecided import EffectsInRounding, in_rounding_from_plain
from graphs.verdict import MissedBound


@dataclass(frozen=True)
class SiteQuality:
    """How well one SAE reconstructs the model's computation on a text, spliced in alone.

    Attributes:
        l0: mean number of active features per token.
        fvu: fraction of variance unexplained: the share of the activation's variance that the reconstruction misses.
        ce_recovered: (CE with the site set to zero − CE spliced) / (CE with the site set to zero − CE clean); None
            where setting it to zero does not raise CE.
        ce_increase: CE spliced − CE clean, in nats per token.
        kl: KL(model ‖ spliced), in nats per token.
    """

    site: str
    l0: Magnitude
    fvu: Magnitude
    ce_recovered: float | None
    ce_increase: float
    kl: float


@dataclass(frozen=True)
class SAEQuality:
    """How well the SAEs reconstruct the model's computation on a text.

    Attributes:
        text: what the text is, in words.
        tokens: how many next-token predictions were scored.
        sites: each SAE spliced in alone.
        ce_recovered, ce_increase, kl: all SAEs spliced in together; meaning and units as in `SiteQuality`.
    """

    __repr__ = short_repr

    text: str
    tokens: Count
    sites: tuple[SiteQuality, ...]
    ce_recovered: float | None
    ce_increase: float
    kl: float


@dataclass(frozen=True)
class Screening:
    """How nodes were chosen for exact patching, where not all of them were patched.

    Attributes:
        estimate: the method whose estimates chose the nodes, in words.
        verified, nodes: how many nodes were patched, out of how many; a node counts once per example.
        threshold: an effect of at least this size is large, in units of the metric.
        flags: number of verified nodes whose estimate was wrong, by flag.
        bound: what the audit says about the nodes that were not verified; None where all were.
    """

    __repr__ = short_repr

    estimate: str
    verified: Count
    nodes: Count
    threshold: Magnitude
    flags: Mapping[str, Count]
    bound: MissedBound | None

    def __post_init__(self) -> None:
        check_parts(self, "verified", "nodes")


@dataclass(frozen=True)
class SizeChoice:
    """How the size of the circuit was chosen.

    Attributes:
        by: the search, in words.
        split: the name of the pairs that chose; `own` where the pairs that found the circuit did.
        pairs: their number.
        target: the faithfulness asked for.
        faithfulness: that of the set chosen, before pruning, on these pairs.
        nodes: its features and errors; `most` is the largest number allowed.
        reached: whether the target was reached, with one standard error to spare.
        largest: the number of all nodes, and `largest_faithfulness` what all of them reach on these pairs.
        needed: the fewest nodes of the search's curve that reach the target; None if no set does.
        new_words: whether these pairs differ from their patch prompts in tokens that no training pair does.
        folds: number of folds, where the size was chosen by cross-validation on the circuit's own pairs; else 0.
        opponents: the nodes left out that opposed the task most, by name, with their effect alone.
    """

    __repr__ = short_repr

    by: str
    split: str
    pairs: Count
    target: float
    faithfulness: float
    nodes: Count
    most: Count
    reached: bool
    largest: Count
    largest_faithfulness: float
    needed: Count | None
    new_words: bool
    opponents: Mapping[str, float]
    folds: Count = 0

    def __post_init__(self) -> None:
        check_parts(self, "nodes", "largest")


@dataclass(frozen=True)
class Stability:
    """How often circuits found on resampled pairs have the nodes and edges of this one.

    Attributes:
        over: what is resampled, with replacement: `pairs`, or `templates` with all their pairs.
        resamples: number of resamples.
        nodes, edges: numbers in the circuit; `stable_nodes` and `stable_edges` are those in at least `STABLE` of the
            resamples.
        mean: the mean inclusion rate of the circuit's nodes.
        overlap: mean Jaccard index of the circuit's and a resample's features and errors.
        kept_from: nodes with a smaller rate were left out; None where none were.
    """

    __repr__ = short_repr

    over: str
    resamples: Count
    nodes: Count
    stable_nodes: Count
    edges: Count
    stable_edges: Count
    mean: Share
    overlap: Share
    kept_from: Share | None = None

    def __post_init__(self) -> None:
        check_parts(self, "stable_nodes", "nodes")
        check_parts(self, "stable_edges", "edges")


STABLE: Final = 0.9
"""A node or an edge is stable if at least this share of the resamples have it."""


@dataclass(frozen=True)
class Certificate:
    """Evidence for one circuit.

    Attributes:
        hashes: SHA-256 of the model, of every SAE and of the prompts.
        circuit_verified: share of the circuit's nodes, counted once per example, whose effect was measured by exact
            patching.
        error_share: Σ |effect| of the circuit's error nodes / Σ |effect| of its features and errors; None where errors
            are not nodes (zero mode) or effects are not in units of the metric.
        flow_shown: Σ weights of the circuit's edges into the metric / total effect; None where no flow was measured.
        screening: None where every node was patched.
        quality: the SAEs on the task's text, and on general text.
        faithfulness: one entry per split.
        curves: one per split: the ranking from which the circuit was chosen, at sizes around the circuit's. The circuit
            may differ from the ranking's first nodes because dangling nodes were pruned.
        missing: the reason for each measurement that was not made, by its name.
        size_choice: how the size of the circuit was chosen; None where it was given, or follows from effects.
        stability: over resampled pairs, and over templates where the pairs have several; empty without resamples.
        trial: what all nodes reach at all sites and at each kind of them; None where no trial was made.
        alone: faithfulness with the layers below `Measurement.from_layer` at their reference too, one entry per split,
            in units of the whole splice's m(M) − m(∅); empty where no layers are kept as they are.
        confirmed: `faithfulness` measured again in float64, where model or SAEs compute in a coarser dtype.
        rounding: exact effects that rounding could have decided; None where there are none.
        gates_at_threshold: gates that stand at their threshold in the clean runs, within rounding, over all pairs; 0 in
            live mode.
        warnings: what is no error, but makes less sense than it looks.
    """

    __repr__ = short_repr

    hashes: Mapping[str, Any]
    circuit_verified: Share
    error_share: Share | None
    flow_shown: float | None = None
    screening: Screening | None = None
    quality: tuple[SAEQuality, ...] = ()
    faithfulness: tuple[Faithfulness, ...] = ()
    curves: tuple[FaithfulnessCurve, ...] = ()
    missing: Mapping[str, str] | None = None
    gates_at_threshold: Count = 0
    size_choice: SizeChoice | None = None
    stability: tuple[Stability, ...] = ()
    trial: TrialOfSites | None = None
    alone: tuple[Faithfulness, ...] = ()
    rounding: EffectsInRounding | None = None
    confirmed: tuple[Faithfulness, ...] = ()
    warnings: tuple[Caution, ...] = ()

    @property
    def rounding_of_faithfulness(self) -> float | None:
        """The largest difference of a faithfulness or completeness from its value in float64; None if not confirmed."""
        fine = {of.split: of for of in self.confirmed}
        pairs = [(of, fine[of.split]) for of in self.faithfulness if of.split in fine]
        apart = [max(abs(a.faithfulness - b.faithfulness), abs(a.completeness - b.completeness)) for a, b in pairs]
        return max(apart, default=None)


def certificate_from_plain(content: dict[str, Any]) -> Certificate:
    """The inverse of `as_plain_data` for a certificate; fields that do not fit are a ValueError."""
    return dataclass_from_plain(
        Certificate,
        content,
        screening=lambda found: found and dataclass_from_plain(Screening, found, bound=_missed_bound),
        quality=_quality,
        faithfulness=Faithfulness.from_dict,
        curves=FaithfulnessCurve.from_dict,
        stability=lambda found: dataclass_from_plain(Stability, found),
        size_choice=lambda found: found and dataclass_from_plain(SizeChoice, found),
        trial=lambda found: found and trial_from_plain(found),
        alone=Faithfulness.from_dict,
        confirmed=Faithfulness.from_dict,
        rounding=lambda found: found and in_rounding_from_plain(found),
        warnings=caution_from_plain,
    )


def _missed_bound(content: dict[str, Any] | None) -> MissedBound | None:
    return None if content is None else dataclass_from_plain(MissedBound, content)


def _quality(content: dict[str, Any]) -> SAEQuality:
    found = dataclass_from_plain(SAEQuality, content, sites=_site_quality)
    if not found.sites:
        raise ValueError("the quality of the SAEs is that of no site.")
    return found


def _site_quality(content: dict[str, Any]) -> SiteQuality:
    return dataclass_from_plain(SiteQuality, content)
