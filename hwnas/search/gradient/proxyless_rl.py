"""ProxylessNAS by reinforcement: networks are drawn, scored, and made more or less likely.

Cai et al., ProxylessNAS, ICLR 2019, sec. 3.3.2, and the authors' released code. Weights are
trained as by `proxyless`. An architecture step draws M networks and scores each on a validation
batch with the statistics of that batch,

    r = acc * prod_b (T_b / cost_b)^0.1   (without the factor where there is no budget),
    dJ/da = (1/M) sum_m (r_m - baseline) d log p(g_m)/da   (Williams, REINFORCE, 1992),

and the baseline follows the mean reward r of each step: `baseline += 0.99 (r - baseline)`. Nothing
is mixed, so any space will do, and costs need no gradient.

Differs from the paper: the baseline starts at the first mean reward, not at 0; there are
`updates_per_epoch` updates an epoch, 300 there, and the learning rate of the architecture follows
from their number; the hardware loss has no part in the reward.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from hwnas.errors import RunError
from hwnas.search.gradient.proxyless import Proxyless
from hwnas.search.gradient.strategy import GradientProblem
from hwnas.training.path_gradients import Metrics

__all__ = ["ProxylessRl"]


class ProxylessRl(Proxyless):
    """REINFORCE over paths.

    Args:
        problem: What it works on; the validation split scores networks.

    Raises:
        DataError: A batch is larger than the training split.
    """

    name = "proxyless-rl"

    networks: ClassVar[int] = 10
    """Networks an update, M."""
    exponent: ClassVar[float] = 0.1
    """Of the cost in the reward."""
    baseline_rate: ClassVar[float] = 0.99
    """Weight of the new reward in the baseline."""
    updates_per_epoch: ClassVar[int] = 11
    """Architecture steps an epoch, at most one a weight step."""
    ARCHITECTURE_TRAVEL: ClassVar[float] = 30.0

    def __init__(self, problem: GradientProblem) -> None:
        super().__init__(problem)
        self.baseline: float | None = None

    def check_space(self) -> None:
        """Any space will do."""

    def architecture_interval(self) -> float:
        """Weight steps to one architecture step."""
        return max(1.0, self.batches / self.updates_per_epoch)

    def movable_share(self) -> float:
        """Share of the updates that move a parameter: all of them."""
        return 1.0

    def architecture_step(self) -> Metrics:
        """One update towards better networks."""
        rng = self.problem.rng
        drawn = [self.paths.sample(rng) for _ in range(self.networks)]
        rewards, accuracy = self.rewards(drawn)
        mean = float(rewards.mean())
        if self.baseline is None:
            self.baseline = mean
        advantages = torch.from_numpy(rewards - self.baseline)
        likelihoods = torch.stack([self.paths.log_probability(path) for path in drawn])
        loss = -(advantages * likelihoods).mean()
        self.update(torch.autograd.grad(loss, self.paths.parameters, allow_unused=True))
        self.baseline += self.baseline_rate * (mean - self.baseline)
        return {"reward": mean, "validation_accuracy": accuracy}

    @torch.no_grad()
    def rewards(self, drawn: list[list[int]]) -> tuple[np.ndarray, float]:
        """Reward of each network on one validation batch, `(n,)`, and the mean accuracy.

        Args:
            drawn: Per network one candidate of each group.
        """
        problem = self.problem
        rows = self.space.canonicalise(np.stack([self.paths.row(path) for path in drawn]))
        images, labels = self.validation_batch(self.options.batch_size)

        def accuracy(row: np.ndarray) -> float:
            with torch.no_grad():  # a setting of each thread
                logits = self.supernet(images, self.space.architecture(row))
            return float((logits.argmax(1) == labels).float().mean())

        run = map if problem.executor is None else problem.executor.map
        found = np.array(list(run(accuracy, rows)))
        costs = problem.costs.cost(rows).astype(np.float64)
        rewards = found.copy()
        for budget in problem.budgets.limits:
            cost = costs[:, problem.costs.metrics.index(budget.metric)]
            rewards *= (budget.limit / cost) ** self.exponent
        return rewards, float(found.mean())

    def state(self) -> dict[str, Any]:
        """Architecture parameters, both optimisers, and the baseline."""
        return super().state() | {"baseline": self.baseline}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a state back."""
        super().restore(state)
        baseline = state.get("baseline")
        if baseline is not None and not isinstance(baseline, float):
            raise RunError(f"state of {self.name} is damaged: its baseline is {baseline!r}")
        self.baseline = baseline
