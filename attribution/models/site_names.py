"""Names of sites: every hook of a model under one canonical name, whatever alias it is asked for by.

Canonical names are those of HookedTransformer (`blocks.3.hook_mlp_out`). A bridge's own names
(`blocks.3.mlp.hook_out`) resolve to these, because both name one hook.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final, final

from torch import nn

from attribution.models.addresses import Address

ENTRY_SITE: Final = "blocks.0.hook_resid_pre"
"""The residual stream that enters the first block: where tokens act."""

_CLASSIC_NAME = re.compile(
    r"hook_embed|blocks\.\d+\.(hook_(resid_pre|resid_mid|resid_post|attn_out|mlp_out)"
    r"|attn\.hook_(q|k|v|z|pattern|result)|mlp\.hook_(pre|post))"
)


@final
class SiteNames:
    """The hooks of one model by canonical name, and every alias of each. Built from the model's `hook_dict`."""

    def __init__(self, hook_dict: Mapping[str, nn.Module | Address]) -> None:
        aliases: dict[nn.Module | Address, list[str]] = {}
        for hook_name, hook in hook_dict.items():
            names = aliases.setdefault(hook, [])
            names += [n for n in (hook_name, getattr(hook, "name", None)) if n and n not in names]
        self._canonical: dict[str, str] = {n: _canonical(names) for names in aliases.values() for n in names}
        self.hooks: dict[str, nn.Module | Address] = {_canonical(names): hook for hook, names in aliases.items()}
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
    """The number of the block that a site lies in, by its name: `hook_resid_pre` and `hook_resid_post` of a block too.

    So the embedding, `blocks.0.hook_resid_pre`, lies in layer 0.

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


def kind_of(site: str) -> str:
    """What a site is in its block, whatever the block: `resid_post`, `mlp_out`, `attn.z`."""
    return re.sub(r"^blocks\.\d+\.", "", site).replace("hook_", "")


def kinds_of(sites: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The sites of each kind, both in the order given."""
    kinds = dict.fromkeys(map(kind_of, sites))
    return {kind: tuple(site for site in sites if kind_of(site) == kind) for kind in kinds}


def sites_named(names: Sequence[str], sites: Sequence[str]) -> tuple[str, ...]:
    """Those of `sites` that a name stands for: a site, a kind (`resid_post`), or a glob of either (`blocks.[23].*`).

    Raises:
        LookupError: no names, or one that stands for none of the sites; the message lists kinds and sites.
    """
    there = f"There are: {', '.join(kinds_of(sites))}, each a kind; {', '.join(sites)}."
    if not names:
        raise LookupError(f"No sites are named. {there}")
    for name in names:
        if not any(_stands_for(name, site) for site in sites):
            raise LookupError(f"No SAE is spliced in at a site called {name!r}. {there}")
    return tuple(site for site in sites if any(_stands_for(name, site) for name in names))


def sites_from(layer: int, sites: Sequence[str]) -> tuple[str, ...]:
    """The sites at `layer` and above.

    Raises:
        ValueError: none is, or all are, so that no layer would be left as it is; the message names the layers.
    """
    layers = sorted({layer_of(site) for site in sites})
    if not layers[0] < layer <= layers[-1]:
        wrong = "no SAE lies there or above" if layer > layers[-1] else "no SAE lies below, so nothing would change"
        layers_there = ", ".join(map(str, layers))
        useful = f"Give one of the layers above {layers[0]}" if len(layers) > 1 else "One layer has no boundary inside"
        raise ValueError(f"From layer {layer}: {wrong}. SAEs are spliced in at layers {layers_there}. {useful}.")
    return tuple(site for site in sites if layer_of(site) >= layer)


def sites_in_layers(layers: Iterable[int], sites: Sequence[str]) -> tuple[str, ...]:
    """The sites in some layers, in the order given. A site outside every block is in none.

    Raises:
        ValueError: no layers, or no site lies in any of them; the message lists the layers in which there are some.
    """
    layer_at = {site: layer_of(site) for site in sites if site.startswith("blocks.")}
    wanted = set(layers)
    chosen = tuple(site for site in sites if layer_at.get(site) in wanted)
    if not chosen:
        named, there = (", ".join(map(str, sorted(some))) for some in (wanted, {*layer_at.values()}))
        raise ValueError(f"No SAE lies in layers {named or '(none named)'}. There are SAEs in layers {there}.")
    return chosen


def _stands_for(name: str, site: str) -> bool:
    return fnmatchcase(site, name) or fnmatchcase(kind_of(site), name)


def _canonical(names: Sequence[str]) -> str:
    classic = [n for n in names if _CLASSIC_NAME.fullmatch(n)]
    return (classic or list(names))[0]
