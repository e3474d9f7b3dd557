"""Inputs in turn, so that a timed network never finds its input in the cache.

What a network computes itself may well lie in the second-level cache when the next kernel reads
it; its input comes from outside. The same few buffers read again and again would be found there
too, as they never are in use.
"""

from collections import Counter
from math import prod

import torch

__all__ = ["InputRotation"]

_PASSES_BY = 2.0  # caches that go by before an input is read again
_MOST_COPIES = 512
_SEED = 0


class InputRotation:
    """Standard normal inputs of any shape, each from memory that was not touched lately.

    Args:
        device: What torch calls it.
        cache_bytes: Size of the last cache before memory.
        dtype: Of the inputs.
        memory_format: Of inputs with four axes.
    """

    def __init__(
        self,
        device: str,
        cache_bytes: int,
        dtype: torch.dtype,
        memory_format: torch.memory_format,
    ) -> None:
        self._device = device
        self._cache_bytes = cache_bytes
        self._dtype = dtype
        self._format = memory_format
        self._copies: dict[tuple[int, ...], list[torch.Tensor]] = {}
        self._turns: Counter[tuple[int, ...]] = Counter()

    def next(self, shape: tuple[int, ...]) -> torch.Tensor:
        """The input of that shape that was given out longest ago."""
        if shape not in self._copies:
            self._copies[shape] = self._made(shape)
        copies = self._copies[shape]
        turn = self._turns[shape]
        self._turns[shape] += 1
        return copies[turn % len(copies)]

    def _made(self, shape: tuple[int, ...]) -> list[torch.Tensor]:
        size = max(1, prod(shape) * self._dtype.itemsize)
        count = min(_MOST_COPIES, 1 + int(_PASSES_BY * self._cache_bytes / size))
        generator = torch.Generator(self._device).manual_seed(_SEED)
        made = []
        for _ in range(count):
            values = torch.randn(shape, generator=generator, device=self._device)
            one = values.to(self._dtype)
            if one.ndim == 4:
                one = one.contiguous(memory_format=self._format)
            made.append(one)
        return made
