"""Names of sites: every hook of a model under one canonical name, whatever alias it is asked for by.

Canonical names are those of HookedTransformer (`blocks.3.hook_mlp_out`). A bridge's own names
(`blocks.3.mlp.hook_out`) resolve to these, because both name one hook.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Final, final

from torch import nn

ENTRY_SITE: Final = "blocks.0.hook_resid_pre"
"""The residual stream that enters the first block: where tokens act."""

_CLASSIC_NAME = re.compile(
    r"hook_embed|blocks\.\d+\.(hook_(resid_pre|resid_mid|resid_post|attn_out|mlp_out)"
    r"|attn\.hook_(q|k|v|z|pattern|result)|mlp\.hook_(pre|post))"
)


@final
class SiteNames:
    """The hooks of one model by canonical name, and every alias of each. Built from the model's `hook_dict`."""

    def __init__(self, hook_dict: Mapping[str, nn.Module]) -> None:
        aliases: dict[nn.Module, list[str]] = {}
        for hook_name, hook in hook_dict.items():
            names = aliases.setdefault(hook, [])
            names += [n for n in (hook_name, getattr(hook, "name", None)) if n and n not in names]
        self._canonical: dict[str, str] = {n: _canonical(names) for names in aliases.values() for n in names}
        self.hooks: dict[str, nn.Module] = {_canonical(names): hook for hook, names in aliases.items()}
        """Each hook under its canonical name."""

    def resolve(self, name: str) -> str:
        """The canonical name of a hook.

        Raises:
            LookupError: an unknown name; the message lists near matches.
        """
        if name in self._canonical:
            return self._canonical[name]
        known = sorted(self._canonical)
        near = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
        hint = f"Near matches: {', '.join(near)}." if near else f"Some hooks: {', '.join(known[:8])}, ..."
        raise LookupError(f"The model has no site {name!r}. {hint}")


def layer_of(site: str) -> int:
    """The number of the block that a site lies in.

    Raises:
        ValueError: the site lies outside every block, so it cannot be spliced.
    """
    match = re.match(r"blocks\.(\d+)\.", site)
    if match is None:
        raise ValueError(
            f"{site!r} lies in no block and cannot be spliced. The embedding is {ENTRY_SITE!r}; "
            "every other site is named blocks.<layer>...."
        )
    return int(match.group(1))


def _canonical(names: Sequence[str]) -> str:
    classic = [n for n in names if _CLASSIC_NAME.fullmatch(n)]
    return (classic or list(names))[0]
