"""Which tensors a block reads when it follows other blocks in a chain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Written", "choose_inputs"]

_Buffer = TypeVar("_Buffer")


@dataclass(frozen=True, eq=False)
class Written(Generic[_Buffer]):
    """A buffer and which tensor of which network is written to it.

    Args:
        network: The network that the writing block is cut from.
        name: Of the tensor there.
        shape: Of the tensor.
        value: The buffer.
    """

    network: object
    name: str
    shape: tuple[int, ...]
    value: _Buffer


def choose_inputs(
    inputs: Mapping[str, tuple[int, ...]], network: object, earlier: Sequence[Written[_Buffer]]
) -> dict[str, Written[_Buffer]]:
    """For each input a buffer of its shape, where there is any.

    The tensor that the block reads in its own network comes first, then the last one written,
    while there are any, another for every input.

    Args:
        inputs: Shapes by name.
        network: That the block is cut from.
        earlier: What was written, last first.
    """
    chosen: dict[str, Written[_Buffer]] = {}
    for name, shape in inputs.items():
        fitting = [w for w in earlier if w.shape == shape]
        unread = [w for w in fitting if w not in chosen.values()]
        own = [w for w in fitting if w.network is network and w.name == name]
        if fitting:
            chosen[name] = (own or unread or fitting)[0]
    return chosen
