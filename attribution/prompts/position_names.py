"""Names of positions, by which nodes of different prompts are matched.

role     the name that a task gives a position, such as `subject`
offset   its distance from the end of the prompt, where the metric is read: `-1` is the last position
none     one name for all positions, `everywhere`: a node stands wherever its feature is active
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args

import numpy as np

from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs
from graphs.nodes import EVERYWHERE, labels_at
from graphs.short_repr import in_brief

PositionScheme = Literal["role", "offset", "none"]
SCHEMES: Final[tuple[PositionScheme, ...]] = get_args(PositionScheme)


class SameRoles:
    """Checks that all pairs have roles, or none: otherwise their positions have no common names."""

    def __init__(self) -> None:
        self.given: bool | None = None
        """Whether pairs have roles; None until the first has passed."""

    def check(self, row: int, roles: Sequence[str] | Mapping[str, Any] | None) -> None:
        """Raises a ValueError if one of this pair and the first has roles and the other has none."""
        given = roles is not None
        self.given = given if self.given is None else self.given
        if given != self.given:
            has, first = ("has roles", "has none") if given else ("has no roles", "has them")
            raise ValueError(
                f"Pair {row}: {has} where the first pair {first}; their positions have no common names. "
                "Give roles to all pairs, or to none."
            )


def position_names(pairs: PromptPairs) -> list[tuple[str, ...]]:
    """The name of each position of each pair: its role if all pairs have roles, else its distance from the end."""
    roles = [pair.roles for pair in pairs if pair.roles is not None]
    if len(roles) == len(pairs):
        return roles
    return [_from_the_end(pair) for pair in pairs]


def _from_the_end(pair: PromptPair) -> tuple[str, ...]:
    return tuple(str(p - len(pair)) for p in range(len(pair)))


def scheme_of(pairs: PromptPairs, asked: str = "auto") -> PositionScheme:
    """The scheme asked for; `auto` is `role` where every pair has roles, `offset` for one pair, else `none`.

    Raises:
        ValueError: no such scheme, or roles that not all pairs have.
    """
    with_roles = all(pair.roles is not None for pair in pairs)
    if asked == "auto":
        return "role" if with_roles else "offset" if len(pairs) == 1 else "none"
    if asked == "role" and not with_roles:
        raise ValueError("The pairs do not name their positions. Give each pair `roles`, or choose offset or none.")
    for scheme in SCHEMES:
        if asked == scheme:
            return scheme
    raise ValueError(f"No scheme of positions {in_brief(asked)}. Schemes: auto, {', '.join(SCHEMES)}.")


def column_names(pairs: PromptPairs, scheme: PositionScheme | None = None) -> list[tuple[str, ...]]:
    """The column that each position of each pair lies in; by default that of `position_names`.

    Raises:
        ValueError: no such scheme.
    """
    if scheme not in (None, *SCHEMES):
        raise ValueError(f"No scheme of positions {in_brief(scheme)}. Schemes: {', '.join(SCHEMES)}.")
    if scheme == "none":
        return [(EVERYWHERE,) * len(pair) for pair in pairs]
    return [_from_the_end(pair) for pair in pairs] if scheme == "offset" else position_names(pairs)


def places_by_label(pairs: PromptPairs) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """For every name that a circuit may give a position, the examples and positions that have it."""
    found: dict[str, list[tuple[int, int]]] = {}
    for example, names in enumerate(position_names(pairs)):
        for position in range(len(names)):
            for label in dict.fromkeys(labels_at(names, position)):
                found.setdefault(label, []).append((example, position))
    return {label: (np.array(places)[:, 0], np.array(places)[:, 1]) for label, places in found.items()}
