"""Labelled images: reading, splitting, augmenting them.

Import from the submodules; those that need torch import it.
"""

__all__: list[str] = []
