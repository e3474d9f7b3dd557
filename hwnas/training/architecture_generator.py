"""A recurrent network that writes architectures of a wanted cost, one decision after another.

Zhang et al., ShiftNAS: Improving One-shot NAS via Probability Shift, ICCV 2023. An LSTM reads the
wanted cost and what it decided before, and draws the next decision as a one-hot vector with Gumbel
noise. The vector is hard in the forward pass and soft in the backward pass (straight-through), so
that the cost of the architecture, which is multilinear in the vectors, teaches the generator:

    loss = (cost(vectors) - wanted)^2, both in widths of a cost bin
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hwnas.costs.compiled import CompiledCosts
from hwnas.costs.differentiable import DifferentiableCosts
from hwnas.spaces import Population
from hwnas.training.cost_bins import CostBins

__all__ = ["ArchitectureGenerator", "CostMiss", "chosen_rows", "fit_generator"]

OneHots = list[Tensor]
"""Per decision `(n, k)`."""

UNITS = 64  # the paper's
LEARNING_RATE = 1e-3  # of Adam, the paper's
_FIT_RATE = 1e-2
_FIT_BATCH = 32
_TEMPERATURE = 1.0


class ArchitectureGenerator(nn.Module):
    """Wanted costs to one-hot vectors of all decisions.

    Before training all options are equally likely.

    Args:
        option_counts: Options of each decision, `(d,)`.
        generator: Source of the initial weights.
        units: Of the LSTM.
    """

    def __init__(
        self, option_counts: Sequence[int], generator: torch.Generator, units: int = UNITS
    ) -> None:
        super().__init__()
        self._counts = tuple(int(count) for count in option_counts)
        widest = max(self._counts)
        self.cell = nn.LSTMCell(widest + 1, units, device="meta").to_empty(device="cpu")
        self.place = nn.Parameter(torch.empty(len(self._counts), widest + 1))
        self.heads = nn.Parameter(torch.zeros(len(self._counts), units, widest))
        bound = units**-0.5
        with torch.no_grad():
            for parameter in (*self.cell.parameters(), self.place):
                parameter.copy_((torch.rand(parameter.shape, generator=generator) * 2 - 1) * bound)

    def forward(self, wanted: Tensor, generator: torch.Generator) -> OneHots:
        """Draw architectures: per decision `(n, k)`, one-hot, with soft gradients.

        Args:
            wanted: Cost of each architecture, `(n,)`, as a share of the cost axis, from 0 to 1.
            generator: Source of the Gumbel noise.
        """
        n, widest = len(wanted), self.place.shape[1] - 1
        state: tuple[Tensor, Tensor] | None = None
        before = torch.zeros(n, widest)
        drawn: OneHots = []
        for place, head, count in zip(self.place, self.heads, self._counts, strict=True):
            state = self.cell(torch.cat([wanted[:, None] * 2 - 1, before], 1) + place, state)
            logits = state[0] @ head[:, :count]
            uniform = torch.rand(logits.shape, generator=generator).clamp(1e-10, 1 - 1e-7)
            soft = ((logits - (-uniform.log()).log()) / _TEMPERATURE).softmax(1)
            hard = functional.one_hot(soft.argmax(1), count).to(soft)
            drawn.append(hard - soft.detach() + soft)
            before = functional.pad(drawn[-1], (0, widest - count))
        return drawn


class CostMiss:
    """How far drawn architectures are from the wanted cost, in widths of a bin.

    Args:
        costs: Compiled costs, the first metric binned.
        bins: Its bins.
    """

    def __init__(self, costs: CompiledCosts, bins: CostBins) -> None:
        self._expected = DifferentiableCosts(costs, costs.metrics[:1])
        self._low, self._high = float(bins.edges[0]), float(bins.edges[-1])
        self._width = bins.width

    def share(self, cost: Tensor) -> Tensor:
        """Place of a cost on the axis, from 0 to 1."""
        return (cost - self._low) / (self._high - self._low)

    def __call__(self, one_hots: OneHots, wanted: Tensor) -> Tensor:
        """Signed distance, `(n,)`, differentiable in the vectors.

        Args:
            one_hots: Per decision `(n, k)`.
            wanted: `(n,)`, in the metric's unit.
        """
        costs = torch.vmap(lambda *parts: self._expected.expected(parts)[0])(*one_hots)
        return (costs - wanted) / self._width


def chosen_rows(one_hots: OneHots) -> Population:
    """Option indices `(n, d)` of hard one-hot vectors."""
    return np.stack([one_hot.argmax(1).numpy() for one_hot in one_hots], 1).astype(np.uint8)


def fit_generator(
    model: ArchitectureGenerator,
    miss: CostMiss,
    bins: CostBins,
    generator: torch.Generator,
    steps: int,
) -> None:
    """Teach a generator the costs alone, with wanted costs from the whole axis.

    Args:
        model: What is taught.
        miss: Of its architectures.
        bins: The cost axis.
        generator: Source of chance.
        steps: Of Adam, its rate falling linearly.
    """
    optimiser = torch.optim.Adam(model.parameters(), lr=_FIT_RATE)
    low, high = float(bins.edges[0]), float(bins.edges[-1])
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = _FIT_RATE * (1.0 - step / steps)
        wanted = torch.rand(_FIT_BATCH, generator=generator) * (high - low) + low
        loss = miss(model(miss.share(wanted), generator), wanted).square().mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
