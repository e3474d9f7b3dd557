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
        self._counts = [int(count) for count in option_counts]
        ends = np.cumsum([0, *self._counts])
        self._first = [int(end) for end in ends[:-1]]
        total = int(ends[-1])
        self.cell = nn.LSTMCell(hidden, hidden)
        # One row for each option of each decision, and one that starts the walk.
        self.embedding = nn.Embedding(total + 1, hidden)
        self.weight = nn.Parameter(torch.empty(total, hidden))
        self.bias = nn.Parameter(torch.empty(total))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-0.1, 0.1, generator=generator)
            self.bias.zero_()

    def draw(
        self, uniforms: npt.NDArray[np.float64], free: Flags, given: npt.NDArray[np.int64]
    ) -> Draw:
        """Sample rows.

        A decision that is not free in a row is frozen: it takes the given option, or, where -1 is
        given, the option of the first row. Frozen decisions feed the recurrence as constants, so
        neither their logits nor what led to them gets a gradient from that row.

        Args:
            uniforms: `(n, d)` in [0, 1), the only source of chance.
            free: `(n, d)`.
            given: `(d,)` option indices or -1.
        """
        n, width = free.shape
        chances, is_free = torch.from_numpy(uniforms).float(), torch.from_numpy(free)
        hidden = memory = torch.zeros(n, self.cell.hidden_size)
        x = self.embedding.weight[-1].expand(n, -1)
        choices, log_probabilities, entropies = [], [], []
        for t in range(width):
            hidden, memory = self.cell(x, (hidden, memory))
            first, count = self._first[t], self._counts[t]
            own = slice(first, first + count)
            logits = functional.linear(hidden, self.weight[own], self.bias[own])
            log_softmax = functional.log_softmax(logits, dim=1)
            softmax = log_softmax.exp()
            reached = softmax.detach().cumsum(1)
            choice = (reached < chances[:, t : t + 1] * reached[:, -1:]).sum(1)
            choice.clamp_(max=count - 1)
            frozen = choice[0] if given[t] < 0 else torch.tensor(int(given[t]))
            choice = torch.where(is_free[:, t], choice, frozen)
            chosen = log_softmax.gather(1, choice[:, None])[:, 0]
            log_probabilities.append(torch.where(is_free[:, t], chosen, 0.0))
            entropy = -(softmax * log_softmax).sum(1)
            entropies.append(torch.where(is_free[:, t], entropy, 0.0))
            choices.append(choice)
            flag = is_free[:, t : t + 1]
            hidden = torch.where(flag, hidden, hidden.detach())
            memory = torch.where(flag, memory, memory.detach())
            x = self.embedding(first + choice)
            x = torch.where(flag, x, x.detach())
        rows = torch.stack(choices, 1).numpy().astype(np.uint8)
        return Draw(rows, torch.stack(log_probabilities, 1), torch.stack(entropies, 1))
