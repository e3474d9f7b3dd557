"""Training of supernets by recipes and of single networks; checkpoints and logs of it.

Import from the submodules; they need torch.
"""

__all__: list[str] = []
