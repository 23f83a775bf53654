"""A clean text and its minimal counterfactual, word for word, and how a template makes them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TextPair:
    """Two texts of the same length, the right next word of each, and what each position is for.

    Attributes:
        clean, patch: words joined by single spaces, without BOS.
        answer, wrong: the right next word after `clean`, and the right next word after `patch`.
        roles: a name for each word, unique within the pair. A role means the same in all templates of a task.
        template: the name of the template that made the pair.

    Raises:
        ValueError: the texts and roles differ in length, a role occurs twice, or the texts or answers are equal.
    """

    clean: str
    patch: str
    answer: str
    wrong: str
    roles: tuple[str, ...]
    template: str

    def __post_init__(self) -> None:
        lengths = {len(self.clean.split()), len(self.patch.split()), len(self.roles)}
        if len(lengths) != 1:
            raise ValueError(f"Clean text, patch text and roles differ in length: {self}")
        if len(set(self.roles)) != len(self.roles):
            raise ValueError(f"A role occurs twice: {self.roles}")
        if self.answer == self.wrong or self.clean == self.patch:
            raise ValueError(f"Clean and patch must differ, in the text and in the answer: {self}")


def make_pair(
    name: str, template: str, words: dict[str, str], changed: dict[str, str], answer: str, wrong: str
) -> TextPair:
    """Fill a template twice: with `words`, and with `words` overridden by `changed`.

    A template is a string of slots. `<role>` is filled with `words[role]`. If these are several words, their roles are
    role_1, role_2 and so on; if there is none, the slot disappears. `word=role` is a literal word with a role of that
    name. `word` is a literal word and its own role.
    """
    clean, roles = _fill(template, words)
    patch, _ = _fill(template, words | changed)
    return TextPair(" ".join(clean), " ".join(patch), answer, wrong, tuple(roles), name)


def _fill(template: str, words: dict[str, str]) -> tuple[list[str], list[str]]:
    filled: list[str] = []
    roles: list[str] = []
    for slot in template.split():
        if slot.startswith("<") and slot.endswith(">"):
            role = slot[1:-1]
            filling = words[role].split()
            filled += filling
            roles += [role] if len(filling) == 1 else [f"{role}_{i}" for i in range(1, len(filling) + 1)]
        else:
            word, _, role = slot.partition("=")
            filled.append(word)
            roles.append(role or word)
    return filled, roles
