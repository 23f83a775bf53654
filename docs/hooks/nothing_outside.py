"""The site stands alone: a built page that would load anything from another host fails the build."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError

LOADS = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*\ssrc\s*=\s*["']?(?:https?:)?//"""
    r"""|<link\b[^>]*\shref\s*=\s*["']?(?:https?:)?//"""
    r"""|@import\s+(?:url\()?["']?(?:https?:)?//|url\(\s*["']?(?:https?:)?//""",
    re.IGNORECASE,
)
LEADS_OUT = re.compile(r"""<a\b[^>]*\shref\s*=\s*["']?(?:https?:)?//[^"'\s>]*""", re.IGNORECASE)


def on_post_build(config: MkDocsConfig) -> None:
    """Reads every page and style sheet of the site.

    Raises:
        PluginError: one of them loads from, or links to, another host.
    """
    found: list[str] = []
    for path in sorted(Path(config.site_dir).rglob("*")):
        if path.suffix in (".html", ".css"):
            text = path.read_text(encoding="utf-8")
            found += [f"{path.name}: {match[0]}" for rule in (LOADS, LEADS_OUT) for match in rule.finditer(text)]
    if found:
        raise PluginError("The site refers to something outside: " + "; ".join(found[:5]))
