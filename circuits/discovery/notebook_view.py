"""How a notebook displays what `discover` found: the circuit, the check of an estimate, and where the rest is."""

from circuits.discovery.discover import Found
from graphs.notebook_display import MimeBundle
from graphs.words.notebook_view import circuit_view, joined_views, parts_view, verdict_view


def found_view(found: Found) -> MimeBundle:
    """The views of the circuit and of the checked estimate, if there is one, and the parts by name."""
    named = ("circuit", "effects", "ranking", "verdict", "checked", "decision")
    parts = {name: part for name in named if (part := getattr(found, name)) is not None}
    checked = () if found.checked is None else (verdict_view(found.checked),)
    return joined_views((circuit_view(found.circuit), *checked, parts_view("parts", parts)))
