"""Gradient-based search: task loss and expected cost in one loss, and keeping hard budgets.

These modules need torch and are imported by name; `hwnas.search` does not import them.
"""

__all__: list[str] = []
