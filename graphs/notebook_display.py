"""How a value of ours is displayed in a notebook, without its type knowing the view.

A type inherits `NotebookDisplay`; `set_notebook_view` says which function renders it. The front door
(`graphs/__init__`) sets the views of this package, and it runs before any module of the package, so every value has its
view.
"""

from collections.abc import Callable
from typing import Any

MimeBundle = dict[str, str]
"""The same content in several formats, by MIME type: `text/plain`, `text/html`."""

_views: dict[str, Callable[[Any], MimeBundle]] = {}


def set_notebook_view(type_name: str, view: Callable[[Any], MimeBundle]) -> None:
    """Render values of the type with this name, and of its subclasses, by `view`."""
    _views[type_name] = view


class NotebookDisplay:
    """Base of the types that IPython displays through a view."""

    __slots__ = ()

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> MimeBundle:
        """What a notebook shows in place of the `repr`; IPython's protocol."""
        return next(_views[kind.__name__] for kind in type(self).__mro__ if kind.__name__ in _views)(self)

    def _repr_html_(self) -> str:
        """The HTML part of what a notebook shows."""
        return self._repr_mimebundle_()["text/html"]
