"""Weight sharing: data sets, the elastic network, its training and recalibration.

Import from the submodules; those that need torch import it.
"""

__all__: list[str] = []
