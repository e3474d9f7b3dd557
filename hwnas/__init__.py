"""Hardware-aware neural architecture search with measured costs.

The public names are the subpackages; nothing heavy is imported here.
"""

from hwnas.errors import HwnasError

__all__ = ["HwnasError", "__version__"]

__version__ = "0.1.0"
