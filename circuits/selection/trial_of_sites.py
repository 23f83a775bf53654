"""Trial of sites: before a circuit is looked for, what can be reached at each kind of site that is spliced?

Three sites a layer must each let the information through: what one loses, no other restores. Two forwards over the
pairs tell which nodes they know; five over the pairs that judge tell the rest, for all sites and for each kind of them
(`graphs/site_trial.py` has the formulas).
"""

from dataclasses import replace
from typing import Final

import numpy as np

from attribution.models.site_names import kinds_of
from attribution.prompts.metrics import Metric, logit_difference
from attribution.prompts.position_names import scheme_of
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.prompts.question_types import refuse_other_types
from attribution.runs.progress import Progress, silent
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.recording import ErrorMode, refuse_other_mode
from attribution.splice.spliced_model import SplicedModel
from circuits.ranking.aggregate import Ranking, rank_nodes
from circuits.ranking.question import Question
from circuits.selection.node_sets import NodeSets
from graphs import ErrorNode, FeatureNode
from graphs.site_trial import SitesTried, TrialOfSites
from graphs.words.part_words import OWN, VALIDATION

ALL: Final = "all"
"""What all sites together are called."""


def trial_of_sites(
    spliced: SplicedModel,
    pairs: PromptPairs,
    metric: Metric = logit_difference,
    *,
    others: PromptPairs | None = None,
    split: str = VALIDATION,
    patch_value: PatchValue = counterfactual,
    error_mode: ErrorMode | None = None,
    positions: str = "auto",
    memory: int | None = None,
    progress: Progress = silent,
) -> TrialOfSites:
    """What all nodes, and features alone, reach at all sites and at each kind of them; how much passes through each.

    Args:
        spliced: the model with its SAEs.
        pairs: training pairs; the nodes they know are those whose clean and patch values differ in one of them.
        metric: m.
        others: pairs on which F is measured. By default `pairs`, whose nodes are all known: with errors among them F is
            then 1, and only features alone and the share that passes say something.
        split: the name of `others`; `pairs` are always called `own`.
        patch_value: what everything outside a set of nodes is set to.
        error_mode: in `zero` mode SAE errors are no nodes; F is measured without them.
        positions: what a node is, as in `discover`.
        memory: bytes that batches may hold beside the weights; by default half of the free memory.
        progress: told the share of work done.

    Raises:
        ValueError: F is undefined at all sites together, or no node differs between the prompts.

    Examples:
        >>> trial = trial_of_sites(spliced, pairs)
        >>> [tried.kind for tried in trial.kinds], round(trial.every.faithfulness, 3), trial.every.passing
        (['attn_out', 'mlp_out', 'resid_post'], 1.0, 1.0)
    """
    refuse_other_types(pairs, metric, patch_value)
    refuse_other_mode(error_mode or "live")
    mode: ErrorMode = "zero" if error_mode == "zero" else "live"
    asked = Question(spliced, pairs, metric, mode, patch_value, memory)
    effects = asked.estimate("activation-difference", silent)
    known = rank_nodes(effects, pairs, spliced.model, scheme=scheme_of(pairs, positions))
    judging = pairs if others is None else others
    groups = {ALL: spliced.sites, **kinds_of(spliced.sites)}
    tried: list[SitesTried] = []
    whole = None
    for number, (kind, sites) in enumerate(groups.items(), start=1):
        sets = _known_at(replace(asked, spliced=spliced.at_sites(*sites), pairs=judging), known)
        whole = whole or sets
        tried.append(_tried(kind, sets, whole))
        progress(number / len(groups))
    return TrialOfSites(OWN if others is None else split, len(judging), tried[0], tuple(tried[1:]))


def _known_at(question: Question, known: Ranking) -> NodeSets:
    """Sets of the known nodes at the sites that are spliced."""
    spliced, room = question.spliced, question.room
    nodes = [w.node for w in known.nodes if isinstance(w.node, FeatureNode | ErrorNode) and w.node.site in spliced.saes]
    return NodeSets(
        spliced, question.pairs, question.metric, question.reference, nodes, known.positions, room.masked_pairs
    )


def _tried(kind: str, sets: NodeSets, whole: NodeSets) -> SitesTried:
    """What all the nodes of `sets` reach, and what passes there of all that passes at all sites."""
    span, known = whole.span, len(sets.nodes)
    if not sets.is_defined or not known:
        return SitesTried(kind, len(sets.spliced.sites), known, None, None, 0.0)
    features = np.array([isinstance(node, FeatureNode) for node in sets.nodes])
    return SitesTried(
        kind=kind,
        sites=len(sets.spliced.sites),
        nodes=known,
        faithfulness=sets.faithfulness(np.ones(known, bool)),
        features_alone=sets.faithfulness(features),
        passing=sets.span / span,
    )
