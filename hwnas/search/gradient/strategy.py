"""The contract of gradient-based strategies: weights and architecture are trained together.

A strategy owns its supernet and its architecture parameters and trains both, an epoch a call. At
any moment it names one architecture, the derived one. `gradient_search` owns the rest: epochs,
checkpoints, the weight of the cost, and that the architecture handed over meets the budgets.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from hwnas.costs.compiled import CompiledCosts
from hwnas.costs.differentiable import DifferentiableCosts
from hwnas.datasets.dataset import Dataset
from hwnas.errors import HwnasError, RunError
from hwnas.search.budgets import Budgets
from hwnas.search.gradient.hardware_loss import HardwareLoss
from hwnas.spaces import SearchSpace
from hwnas.supernet.supernet import Supernet
from hwnas.training.options import TrainingOptions
from hwnas.training.path_gradients import Metrics

__all__ = ["GradientProblem", "GradientStrategy", "reading_state"]

Row = npt.NDArray[np.uint8]


@dataclass(eq=False)
class GradientProblem:
    """What a gradient-based strategy works on.

    Args:
        space: The space.
        dataset: Weights are trained on the training split; architecture parameters on the
            validation split where the method has two levels.
        costs: Compiled costs.
        budgets: Upper limits.
        expected: The same costs, differentiable; its metrics are those that `hardware_loss` takes.
        hardware_loss: Task loss and expected cost in one.
        options: Of the training.
        rng: Source of chance in NumPy.
        generator: Source of chance in torch.
        device: Where torch computes.
        executor: Runs passes side by side; None for one after another.
    """

    space: SearchSpace
    dataset: Dataset
    costs: CompiledCosts
    budgets: Budgets
    expected: DifferentiableCosts
    hardware_loss: HardwareLoss
    options: TrainingOptions
    rng: np.random.Generator
    generator: torch.Generator
    device: str = "cpu"
    executor: Executor | None = None


class GradientStrategy:
    """One gradient-based method.

    Args:
        problem: What it works on.

    Raises:
        SpaceError: The method is not for this space.
    """

    name: ClassVar[str]
    """On the command line."""
    defaults: ClassVar[TrainingOptions] = TrainingOptions(epochs=30)
    """Options that fit the method."""
    tasks: ClassVar[tuple[str, ...]] = ("classification",)
    """Names of the tasks that its losses are for."""
    warmup_share: ClassVar[float] = 0.0
    """Share of the epochs, at the start, in which cost has no say."""

    supernet: Supernet
    """Where derived networks take their weights from; of a class in `hwnas.supernet.sharing`."""

    def __init__(self, problem: GradientProblem) -> None:
        self.problem = problem
        self.space = problem.space
        self.options = problem.options

    @property
    def warmup_epochs(self) -> int:
        """Epochs in which cost has no say; it has one in the last epoch at least.

        What is derived in them is no answer to a budget, so hard budgets do not adapt to it.
        """
        return min(round(self.warmup_share * self.options.epochs), self.options.epochs - 1)

    def epoch(self, epoch: int) -> Metrics:
        """Train for one pass over the training split.

        Args:
            epoch: From 0. Past `options.epochs` the learning rate stays at its last value.

        Returns:
            Means of what is worth a line in the log; `loss` among them.

        Raises:
            DivergenceError: The loss is not finite.
        """
        raise NotImplementedError

    def derive(self) -> Row:
        """The architecture that the parameters stand for now, `(d,)`, canonical."""
        raise NotImplementedError

    def preference(self) -> list[npt.NDArray[np.float64]]:
        """How much each option of each decision is wanted, `(k,)` a decision.

        Log-probabilities or margins; where the derived architecture is over a budget, the options
        that are given up are those that are missed least for what they save.
        """
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Architecture parameters, optimisers, counters; no weights of the supernet.

        Tensors, numbers, strings, lists and dicts of them; nothing else can be loaded again.
        """
        raise NotImplementedError

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take a state back; the supernet's weights are loaded by the caller, afterwards.

        Raises:
            RunError: The state is of another form.
        """
        raise NotImplementedError


@contextmanager
def reading_state(name: str) -> Iterator[None]:
    """Turns what a malformed state raises into one error that says what to do.

    Args:
        name: The strategy's.

    Raises:
        RunError: Something inside could not be read.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, HwnasError):
            raise
        raise RunError(
            f"state of {name} is damaged: {error}; delete the checkpoint to start anew"
        ) from error
