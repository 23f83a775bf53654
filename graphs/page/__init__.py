"""The interactive page of a circuit: one HTML file, no network request."""

from graphs.page.circuit_page import write_page

__all__ = ["write_page"]
