"""Ways of sharing weights by name, for checkpoints."""

from importlib import import_module

from hwnas.errors import RunError
from hwnas.supernet.supernet import Supernet

__all__ = ["SHARINGS", "supernet_class"]

#: Name in a checkpoint -> module and class.
SHARINGS: dict[str, tuple[str, str]] = {
    "elastic": ("hwnas.supernet.elastic", "ElasticSupernet"),
    "kernel-transform": ("hwnas.supernet.kernel_transform", "KernelTransformSupernet"),
    "separate": ("hwnas.supernet.separate", "SeparateSupernet"),
    "split": ("hwnas.supernet.split", "SplitSupernet"),
}


def supernet_class(sharing: str) -> type[Supernet]:
    """The class that shares weights in that way.

    Raises:
        RunError: There is none of that name.
    """
    if sharing not in SHARINGS:
        known = ", ".join(sorted(SHARINGS))
        raise RunError(f"the checkpoint shares weights by {sharing!r}; hwnas knows {known}")
    module, name = SHARINGS[sharing]
    found: type[Supernet] = getattr(import_module(module), name)
    return found
