"""Steering: changes of any number of nodes, when they are made, and the edits that they are at a strength.

    always        at every position, of the prompt and of what is generated
    prompt        at the prompt's positions only
    generating    at the positions whose logits choose a token: the prompt's last, and those that follow it

A node with a position of its own, as in `...@subject`, changes there and nowhere else.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from jaxtyping import Float
from torch import Tensor

from attribution.prompts.position_names import position_names
from attribution.prompts.prompt_pairs import PromptPairs
from attribution.splice.edits import EVERYWHERE, NodeEdit, ReferenceValues, SiteNodes
from attribution.splice.recording import INTERVENED
from attribution.splice.spliced_model import ErrorMode, SplicedModel
from circuits.ablation.node_names import NodeName, parse_nodes
from circuits.steering.changes import Change, ChangeName, read_changes
from circuits.steering.directions import decoder_direction, usable
from circuits.steering.maxima import largest_activations
from graphs.short_repr import in_brief, short_repr

When = Literal["always", "prompt", "generating"]
WHEN: Final[tuple[When, ...]] = get_args(When)


@dataclass(frozen=True)
class PromptRow:
    """One row that is steered: the names of its prompt's positions, which of them are spliced, and what it becomes.

    `end` is the prompt's last position, `length` the number of positions that the row has or will have.
    """

    names: Sequence[str]
    spliced: Sequence[bool]
    end: int
    length: int

    def within(self, when: When) -> list[int]:
        """The positions that are steered where a node names none; they are spliced as far as they are the prompt's."""
        chosen = range(self.end + 1) if when == "prompt" else range(self.end, self.length)
        return [pos for pos in chosen if pos >= len(self.spliced) or self.spliced[pos]]


@dataclass(frozen=True)
class Steering:
    """Changes of nodes, when they are made, and in which error mode.

    Examples:
        >>> steering = Steering.named([f"{name}:add=5", "blocks.2.hook_resid_post/368@subject:set=0"], spliced, pairs)
        >>> [change.does for change in steering.changes], steering.when
        (['add', 'set'], 'always')
    """

    __repr__ = short_repr

    changes: tuple[Change, ...]
    when: When = "always"
    error_mode: ErrorMode = "live"

    def __post_init__(self) -> None:
        if self.when not in WHEN:
            raise ValueError(f"Nothing is steered {in_brief(self.when)}. Choose one of: {', '.join(WHEN)}.")
        if self.error_mode not in INTERVENED:
            raise ValueError(
                f"No error mode {in_brief(self.error_mode)} for steering. Choose one of: {', '.join(INTERVENED)}."
            )
        if not self.changes:
            raise ValueError("No changes: there is nothing to steer.")
        for change in self.changes:
            if self.error_mode == "zero" and change.node.is_error and change.direction is None:
                raise ValueError(f"Cannot {change.text}: in zero mode there are no errors. Use live or frozen mode.")

    @classmethod
    def named(
        cls,
        texts: Sequence[str],
        spliced: SplicedModel,
        pairs: PromptPairs,
        *,
        direction: Float[Tensor, " width"] | str | None = None,
        documents: Sequence[Sequence[int]] = (),
        when: When = "always",
        error_mode: ErrorMode = "live",
        batch_size: int = 16,
    ) -> "Steering":
        """The changes with these texts (`changes.py`), as in `["368@subject:add=0.5max", "99:set=0"]`.

        Args:
            texts: of each change.
            spliced: the model with its SAEs; where they are at one site, a feature's number is enough.
            pairs: the prompts, which name the positions.
            direction: what `SITE/direction:add=V` adds: a vector, or the name of a feature, for its decoder direction.
            documents: token ids of the text that maxima are taken over.
            when: at which positions nodes without one of their own change.
            error_mode: what becomes of SAE errors: live, frozen or zero.
            batch_size: documents in one forward.

        Raises:
            ValueError: a text that is no change, a direction that is missing, not used or does not fit, or a maximum
                without documents, or of a feature that is never active in them.
            LookupError: a site without an SAE, or a position that no prompt has.
        """
        read = read_changes(texts)
        nodes = parse_nodes([change.node for change in read], spliced, position_names(pairs))
        vector, source = _direction(direction, spliced)
        if (vector is None) == any(change.is_direction for change in read):
            raise ValueError(
                "SITE/direction:add=V needs a direction: a vector, or a feature's name (--direction)."
                if vector is None
                else "A direction is given, and no change adds it. Write for example "
                f"{spliced.sites[-1]}/direction:add=1."
            )
        counted = [source if change.is_direction else node for change, node in zip(read, nodes, strict=True)]
        maxima = _maxima(read, counted, spliced, documents, batch_size)
        changes = tuple(
            Change(
                change.of(node),
                node,
                change.does,
                change.amount,
                maxima[unit] if change.of_maximum and unit is not None else None,
                _fitting(vector, spliced, node) if change.is_direction else None,
            )
            for change, node, unit in zip(read, nodes, counted, strict=True)
        )
        return cls(changes, when, error_mode)

    def edits(self, strength: float, spliced: SplicedModel, rows: Sequence[PromptRow]) -> tuple[NodeEdit, ...]:
        """The edits of a batch of prompts; none at strength 0. A node's number is that of its change."""
        return self._edits(strength, spliced, [self._places(change, rows) for change in self.changes])

    def edits_everywhere(self, strength: float, spliced: SplicedModel) -> tuple[NodeEdit, ...]:
        """The edits of text that has none of the prompts' positions: every node changes at every position."""
        everywhere = [(EVERYWHERE, EVERYWHERE)]
        return self._edits(strength, spliced, [everywhere] * len(self.changes))

    def _edits(
        self, strength: float, spliced: SplicedModel, places: Sequence[Sequence[tuple[int, int]]]
    ) -> tuple[NodeEdit, ...]:
        if strength == 0:
            return ()
        device, found = spliced.model.device, list[NodeEdit]()
        for number, (change, own) in enumerate(zip(self.changes, places, strict=True)):
            node = change.node
            nodes = SiteNodes.of([(number, row, pos, node.index) for row, pos in own], device)
            found.append(NodeEdit(node.site, nodes, change.at(strength), ReferenceValues.zero()))
        return tuple(found)

    def _places(self, change: Change, rows: Sequence[PromptRow]) -> list[tuple[int, int]]:
        if change.node.position is not None:
            return [(row, pos) for row, own in enumerate(rows) for pos in change.node.columns(own.names)]
        if self.when == "always":
            return [(EVERYWHERE, EVERYWHERE)]
        return [(row, pos) for row, own in enumerate(rows) for pos in own.within(self.when)]

    def plain(self) -> dict[str, Any]:
        """All that decides what is changed, as plain data."""
        return {"changes": [_plain(change) for change in self.changes], "when": self.when}


def _plain(change: Change) -> list[Any]:
    vector = change.direction
    digest = None if vector is None else hashlib.sha256(vector.double().cpu().numpy().tobytes()).hexdigest()
    return [str(change.node), change.does, change.amount, change.maximum, digest]


def _direction(given: Tensor | str | None, spliced: SplicedModel) -> tuple[Tensor | None, NodeName | None]:
    """The vector, and the feature that it is the decoder direction of."""
    if given is None:
        return None, None
    return decoder_direction(spliced, given) if isinstance(given, str) else (usable(given, "The direction"), None)


def _fitting(vector: Tensor | None, spliced: SplicedModel, node: NodeName) -> Tensor:
    assert vector is not None
    sae = spliced.saes[node.site]
    return usable(vector, "The direction", sae.d_in).to(sae.b_dec)


def _maxima(
    read: Sequence[ChangeName],
    counted: Sequence[NodeName | None],
    spliced: SplicedModel,
    documents: Sequence[Sequence[int]],
    batch_size: int,
) -> dict[NodeName, float]:
    """The maxima that changes count, by node."""
    asked = [unit for change, unit in zip(read, counted, strict=True) if change.of_maximum]
    if any(unit is None for unit in asked):
        raise ValueError("A direction of your own has no maximum: write its amount without max.")
    return largest_activations(spliced, [u for u in asked if u], documents, batch_size=batch_size) if asked else {}
