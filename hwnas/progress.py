"""How long work tells where it stands."""

from collections.abc import Callable

__all__ = ["Progress", "silent"]

Progress = Callable[[str, float], None]
"""Called with a line of text and the share done, 0 to 1."""


def silent(text: str, share: float) -> None:
    """Progress that nobody watches."""
