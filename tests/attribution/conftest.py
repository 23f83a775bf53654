"""The fixtures of the tiny models."""

from tests.worlds.fixtures import llama, llama_world, model, world

__all__ = ["llama", "llama_world", "model", "world"]
