"""Names of positions, by which nodes of different prompts are matched: roles, or distances from the end."""

from collections.abc import Sequence

from attribution.prompts.prompt_pair import PromptPair
from attribution.prompts.prompt_pairs import PromptPairs


class SameRoles:
    """Checks that all pairs have roles, or none: otherwise their positions have no common names."""

    def __init__(self) -> None:
        self.given: bool | None = None
        """Whether pairs have roles; None until the first has passed."""

    def check(self, row: int, roles: Sequence[str] | None) -> None:
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
