"""The controller: a recurrent network that makes one decision after another.

Yang et al. (NASAIC), DAC 2020: one LSTM walks through the segments of all networks and of all
sub-accelerators; at each step a softmax over the decision's options is sampled, and what was
sampled is the next step's input (Zoph, Le, Neural Architecture Search with Reinforcement Learning,
ICLR 2017).

Differs from the paper: options are sampled freely and what exceeds the shared budgets of a chip is
cut by the space's canonical form.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from hwnas.spaces import Population

__all__ = ["Controller", "Draw"]

Flags = npt.NDArray[np.bool_]

_CELL = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


@dataclass(frozen=True, eq=False)
class Draw:
    """What a controller has sampled.

    Args:
        rows: `(n, d)` option indices as they were sampled, not canonical.
        log_probability: `(n, d)` of each free decision; 0, without a gradient, where it was not
            free.
        entropy: `(n, d)` of the softmax of each free decision in nats, likewise.
    """

    rows: Population
    log_probability: Tensor
    entropy: Tensor


class Controller(nn.Module):
    """Samples rows of decisions.

    Args:
        option_counts: Options of each decision, `(d,)`.
        hidden: Width of the LSTM.
        seed: Of the first weights.
    """

    def __init__(self, option_counts: Sequence[int], hidden: int, seed: int) -> None:
        super().__init__()
        counts = np.array(option_counts, np.int64)
        ends = np.cumsum(counts)
        self._counts, self._first = counts, ends - counts
        total = int(ends[-1])
        self.lstm = nn.LSTM(hidden, hidden, batch_first=True)
        # One row for each option of each decision, and one that starts the walk.
        self.embedding = nn.Embedding(total + 1, hidden)
        self.head = nn.Linear(hidden, total)
        # Minus infinity at the options of other decisions, `(d, total)`.
        decision = np.repeat(np.arange(len(counts)), counts)
        own = torch.from_numpy(decision[None] == np.arange(len(counts))[:, None])
        self._own = own
        self._closed = torch.zeros(own.shape).masked_fill(~own, -torch.inf)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-0.1, 0.1, generator=generator)
            self.head.bias.zero_()

    def draw(
        self, uniforms: npt.NDArray[np.float64], free: Flags, given: npt.NDArray[np.int64]
    ) -> Draw:
        """Sample rows.

        The first row is a design of its own. Further rows share its leading decisions: those that
        are not free in them are frozen at the first row's options. What led to a frozen decision
        is a constant for those rows: neither its logits nor the recurrence before it gets a
        gradient from them. A decision that is not free in any row takes the given option.

        Args:
            uniforms: `(n, d)` in [0, 1), the only source of chance.
            free: `(n, d)`; the same in all rows but the first.
            given: `(d,)` option indices; -1 where a decision is free in the first row.
        """
        rows = self._sampled(uniforms, free, given)
        log_softmax = self._log_softmax(rows, _frozen_columns(free))
        numbers = torch.from_numpy(rows.astype(np.int64) + self._first)
        chosen = log_softmax.gather(2, numbers[:, :, None])[:, :, 0]
        plain = torch.where(self._own, log_softmax, 0.0)
        entropy = -(plain * plain.exp() * self._own).sum(2)
        is_free = torch.from_numpy(free)
        return Draw(rows, torch.where(is_free, chosen, 0.0), torch.where(is_free, entropy, 0.0))

    @torch.no_grad()
    def _sampled(
        self, uniforms: npt.NDArray[np.float64], free: Flags, given: npt.NDArray[np.int64]
    ) -> Population:
        """Rows `(n, d)`, a step at a time and without gradients."""
        chances, is_free = torch.from_numpy(uniforms).float(), torch.from_numpy(free)
        cell = [self.lstm.get_parameter(name) for name in _CELL]
        n, width = free.shape
        hidden = memory = torch.zeros(n, self.lstm.hidden_size)
        entry = torch.full((n,), self.embedding.num_embeddings - 1)
        rows = torch.empty((n, width), dtype=torch.uint8)
        for t in range(width):
            x = self.embedding.weight[entry]
            hidden, memory = torch.lstm_cell(x, (hidden, memory), *cell)
            first, count = int(self._first[t]), int(self._counts[t])
            own = slice(first, first + count)
            logits = functional.linear(hidden, self.head.weight[own], self.head.bias[own])
            reached = logits.softmax(1).cumsum(1)
            choice = (reached <= chances[:, t : t + 1] * reached[:, -1:]).sum(1)
            choice.clamp_(max=count - 1)
            if given[t] >= 0:
                choice.fill_(int(given[t]))
            choice = torch.where(is_free[:, t], choice, choice[0])
            rows[:, t] = choice
            entry = first + choice
        return rows.numpy()

    def _log_softmax(self, rows: Population, frozen: int) -> Tensor:
        """Logarithms of the softmaxes, `(n, d, total)`; -inf at options of other decisions.

        Args:
            rows: `(n, d)`.
            frozen: Leading columns that are constants for all rows but the first.
        """
        n, width = rows.shape
        entries = np.full((n, width), self.embedding.num_embeddings - 1, np.int64)
        entries[:, 1:] = rows[:, :-1].astype(np.int64) + self._first[:-1]
        x = self.embedding(torch.from_numpy(entries))
        if not frozen:
            hidden, _ = self.lstm(x)
        else:
            leading, state = self.lstm(x[:1, :frozen])
            # The first row's recurrence goes on; the others start from the same as a constant.
            state = tuple(
                torch.cat([part, part.detach().expand(-1, n - 1, -1)], dim=1) for part in state
            )
            border = torch.cat([x[:1, frozen], x[1:, frozen].detach()])[:, None]
            trailing, _ = self.lstm(torch.cat([border, x[:, frozen + 1 :]], dim=1), state)
            shared = torch.cat([leading, leading.detach().expand(n - 1, -1, -1)])
            hidden = torch.cat([shared, trailing], dim=1)
        return functional.log_softmax(self.head(hidden) + self._closed, dim=2)


def _frozen_columns(free: Flags) -> int:
    """How many leading columns are free in the first row alone."""
    if len(free) == 1:
        return 0
    return int(np.argmax(free[1])) if free[1].any() else free.shape[1] - 1
