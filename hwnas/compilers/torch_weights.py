"""Whether weights are still what a compiled graph was built with."""

from collections.abc import Sequence

import torch

__all__ = ["WeightStamp"]

_SAMPLES = 64


class WeightStamp:
    """What was seen of some weights at one moment.

    A weight counts as changed if it is another tensor, if torch's version counter of it has
    advanced (optimizers, `load_state_dict`, any in-place operator), or if one of up to 64 elements
    spread over it has another value, which sees what is written through `.data` or NumPy without
    advancing the counter. A single element written that way can be missed.

    Args:
        weights: The weights, held as long as the stamp is.
    """

    def __init__(self, weights: Sequence[torch.Tensor]) -> None:
        self._seen = _state(weights)
        # Views of the storage: they show later changes without looking every weight up again.
        self._views = [_spread(weight) for weight in weights if weight.is_contiguous()]
        self._values = self._read()

    def fits(self, weights: Sequence[torch.Tensor]) -> bool:
        """Whether nothing has changed; NaN is never equal, so that it counts as changed."""
        return _state(weights) == self._seen and torch.equal(self._read(), self._values)

    def _read(self) -> torch.Tensor:
        return torch.cat(self._views) if self._views else torch.empty(0)


def _state(weights: Sequence[torch.Tensor]) -> list[tuple[int, int]]:
    return [(weight.data_ptr(), weight._version) for weight in weights]


def _spread(weight: torch.Tensor) -> torch.Tensor:
    flat = weight.detach().view(-1)
    return flat[:: max(1, flat.numel() // _SAMPLES)]
