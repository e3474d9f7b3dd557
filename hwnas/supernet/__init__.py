"""Weight sharing: supernets by what they share, their variants for search, recalibration.

Import from the submodules; they need torch.
"""

__all__: list[str] = []
