"""Ablation: an operation on named nodes, and the edits it makes in a batch of prompts.

remove, keep only    set nodes to the reference value that a patch value gives: the patch prompt's, 0, or a mean
tokens               are replaced in the embedding; they can only be removed, to the patch prompt's token
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attribution.effects.measurement import Situation
from attribution.effects.situation_references import kept_reference, reference_of
from attribution.prompts.position_names import position_names
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.edits import (
    KEEP_ONLY,
    REMOVE,
    KeepOnly,
    NodeEdit,
    Operation,
    ReferenceValues,
    Touched,
    edit_of,
)
from attribution.splice.patch_values import PatchValue, counterfactual
from attribution.splice.spliced_model import ErrorMode, SplicedModel, SplicedRun
from attribution.splice.writing import write_site
from circuits.ablation.node_names import NodeName, PositionNames, parse_nodes, site_nodes, token_places
from graphs.short_repr import in_brief, short_repr


@dataclass(frozen=True)
class Ablation:
    """An operation on nodes, with the reference values of a patch value, in an error mode.

    Examples:
        >>> removed = Ablation.named(["blocks.2.hook_resid_post/368@subject"], spliced, pairs)
        >>> str(removed.names[0]), removed.operation is REMOVE
        ('blocks.2.hook_resid_post/368@subject', True)
        >>> kept = Ablation.named(map(str, removed.names), spliced, pairs, operation=KEEP_ONLY, error_mode="frozen")
    """

    __repr__ = short_repr

    names: tuple[NodeName, ...]
    operation: Operation
    patch_value: PatchValue = counterfactual
    error_mode: ErrorMode = "live"

    def __post_init__(self) -> None:
        if self.error_mode not in ("live", "frozen", "zero"):
            raise ValueError(f"No error mode {in_brief(self.error_mode)} for ablation. Choose live, frozen or zero.")
        if not self.names:
            raise ValueError(f"Cannot {self.operation.label}: no nodes are named.")

    @classmethod
    def named(
        cls,
        names: Iterable[str],
        spliced: SplicedModel,
        pairs: PromptPairs,
        *,
        operation: Operation = REMOVE,
        patch_value: PatchValue = counterfactual,
        error_mode: ErrorMode = "live",
    ) -> "Ablation":
        """An ablation of nodes given by name, as circuits name them; without `@position` at every position.

        Raises:
            ValueError: a name that is none of a node.
            LookupError: a site without an SAE, or a position that no prompt has.
        """
        nodes = parse_nodes(tuple(names), spliced, position_names(pairs))
        return cls(nodes, operation, patch_value, error_mode)

    def acts_on(self, name: NodeName) -> bool:
        """False for tokens that the operation cannot replace and for errors that it cannot set."""
        if name.is_token:
            return self.operation is REMOVE and self.patch_value is counterfactual
        return not name.is_error or (self.operation.for_errors and self.error_mode != "zero")

    def refuse_idle(self) -> None:
        """A ValueError for a node that the operation cannot act on."""
        for name in self.names:
            if not self.acts_on(name) and self.operation is not KEEP_ONLY:
                why = (
                    "a token can only be removed, to the patch prompt's value"
                    if name.is_token
                    else "an error is a vector: remove or scale it, in live or frozen mode"
                )
                raise ValueError(f"Cannot {self.operation.label} {name}: {why}.")


@dataclass(frozen=True)
class BatchEdits:
    """The edits of one batch.

    Attributes:
        edits: by site.
        entry: the residual stream into block 0 with tokens replaced; None if none are.
        tokens: the numbers of the token nodes that differ.
    """

    edits: tuple[NodeEdit | KeepOnly, ...]
    entry: Float[Tensor, "row pos d_model"] | None
    tokens: Int[Tensor, " node"]

    def touched(self, situation: Situation) -> tuple[Int[Tensor, " node"], int]:
        """The numbers of the nodes that the edits move off their clean values, and how many values that is.

        If there are none, the run with these edits equals the clean run.
        """
        parts = [_touched(situation, edit) for edit in self.edits]
        nodes = torch.cat([self.tokens, *(t.nodes for t in parts)]).unique()
        return nodes, len(self.tokens) + sum(t.values for t in parts)

    def run(self, situation: Situation, error_mode: ErrorMode) -> SplicedRun:
        """The batch's clean prompts with these edits; logits at the positions that the metric reads."""
        batch = situation.batch
        return situation.spliced.run(
            batch.clean_ids, self.edits, last=batch.last, error_mode=error_mode, entry=self.entry, read=batch.read
        )


def edits_of(situation: Situation, labels: PositionNames, ablation: Ablation) -> BatchEdits:
    """The edits that an ablation makes in a batch."""
    spliced, operation = situation.spliced, ablation.operation
    tables = site_nodes(_acting(ablation), labels, spliced, situation.clean.spliced)
    reference = kept_reference if operation is KEEP_ONLY else reference_of
    edits = tuple(
        edit_of(operation, site, nodes, reference(situation, site))
        for site, nodes in tables.items()
        if operation is KEEP_ONLY or len(nodes.node)
    )
    device = spliced.model.device
    places = [p for p in token_places(ablation.names, labels) if ablation.acts_on(ablation.names[p[0]])]
    number, row, pos = torch.tensor(places, dtype=torch.long, device=device).reshape(-1, 3).unbind(1)
    entry, patched = situation.clean.entry, situation.changes.entry
    if patched is None or not len(number):
        return BatchEdits(edits, None, number[:0])
    differs = (patched[row, pos] != entry[row, pos]).any(-1)
    entry = entry.clone()
    entry[row, pos] = patched[row, pos]
    return BatchEdits(edits, entry, number[differs].unique())


def _touched(situation: Situation, edit: NodeEdit | KeepOnly) -> Touched:
    """What one edit alone changes in the clean run."""
    clean, sae = situation.clean.sites[edit.site], situation.spliced.saes[edit.site]
    return write_site(sae, clean.arrival, situation.clean.spliced, [edit], situation.error_mode, clean.error).touched[0]


def constant_edits(ablation: Ablation, situation: Situation, labels: PositionNames) -> tuple[NodeEdit | KeepOnly, ...]:
    """The edits for text without patch prompts: the same reference value, 0 or the mean, at every position.

    0 takes the place of counterfactual values.

    Args:
        situation: of any prompts; gives the means.
        labels: the names of the text's positions.
    """
    spliced = situation.spliced
    tables = site_nodes(_acting(ablation), labels, spliced)
    return tuple(
        edit_of(ablation.operation, site, nodes, _constant_reference(situation, site, ablation.patch_value))
        for site, nodes in tables.items()
        if ablation.operation is KEEP_ONLY or len(nodes.node)
    )


def _constant_reference(situation: Situation, site: str, patch_value: PatchValue) -> ReferenceValues:
    if patch_value is counterfactual:
        return ReferenceValues.zero()
    whole, last = reference_of(situation, site), situation.clean.last[0]
    return ReferenceValues(whole.features[0, last], whole.errors[0, last] if whole.errors.ndim else whole.errors)


def _acting(ablation: Ablation) -> Sequence[NodeName | None]:
    """The names, with None in place of those that the operation cannot act on."""
    return [name if ablation.acts_on(name) else None for name in ablation.names]
