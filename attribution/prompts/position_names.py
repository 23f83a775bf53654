"""Names of positions, by which nodes of different prompts are matched: roles, or distances from the end."""

from attribution.prompts.prompt_pairs import PromptPair, PromptPairs


def position_names(pairs: PromptPairs) -> list[tuple[str, ...]]:
    """The name of each position of each pair: its role if all pairs have roles, else its distance from the end."""
    roles = [pair.roles for pair in pairs if pair.roles is not None]
    if len(roles) == len(pairs):
        return roles
    return [_from_the_end(pair) for pair in pairs]


def _from_the_end(pair: PromptPair) -> tuple[str, ...]:
    return tuple(str(p - len(pair)) for p in range(len(pair)))
