"""Whether two names mean one model: `gpt2`, `gpt2-small`, `openai-community/gpt2` and a folder of the hub's cache."""

from collections.abc import Iterable


def same_model(name: str, known: Iterable[str]) -> bool:
    """Whether a model's name means one of those in `known`.

    Owner, folders, case, and `_` for `-` do not count; TransformerLens' short names mean the models they stand for.
    """
    from attribution.models.loading import hub_name

    known = tuple(known)
    if _plain(name) in {_plain(other) for other in known}:
        return True
    return _plain(hub_name(name)) in {_plain(hub_name(other)) for other in known}


def _plain(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].casefold().replace("_", "-")
