"""One loss from a task loss and an expected cost.

All of them see costs only as ratios to a target or a reference, so that a weight means the same
for seconds, milliseconds and joules, and for any space.

References:
    [Sta19] Stamoulis et al., Single-Path NAS, 2019, eq. 8, and the authors' code.
    [Cai19] Cai et al., ProxylessNAS, ICLR 2019, sec. 3.2, and the authors' code.
    [Noc06] Nocedal and Wright, Numerical Optimization, 2nd ed. 2006, sec. 17.4.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hwnas.errors import RunError, SpaceError

__all__ = [
    "HARDWARE_LOSSES",
    "AddLinear",
    "AugmentedLagrangian",
    "HardwareLoss",
    "LogCost",
    "MulLog",
    "make_hardware_loss",
]


@runtime_checkable
class HardwareLoss(Protocol):
    """How cost enters the loss."""

    def __call__(self, task: Tensor, cost: Tensor) -> Tensor:
        """The loss to minimise, a scalar of the task loss's type.

        Args:
            task: Task loss, a scalar.
            cost: Expected costs `(b,)` in SI units, one a budget, positive; a scalar for one.

        Raises:
            SpaceError: There are not b costs.
        """

    def update(self, derived_cost: npt.ArrayLike) -> None:
        """Note the costs `(b,)` of the network derived at the end of an epoch.

        Raises:
            SpaceError: There are not b costs, or one is not positive and finite.
        """

    def state(self) -> dict[str, float]:
        """What changes over a search; empty where nothing does."""

    def restore(self, state: Mapping[str, float]) -> None:
        """Go on from a state.

        Raises:
            RunError: The state is not one of this loss.
        """


@dataclass(frozen=True)
class _Fixed:
    """A loss that does not adapt."""

    def update(self, derived_cost: npt.ArrayLike) -> None:
        """Nothing to adapt."""

    def state(self) -> dict[str, float]:
        """Empty."""
        return {}

    def restore(self, state: Mapping[str, float]) -> None:
        """Check that the state is empty."""
        _check_keys(state, set())


@dataclass(frozen=True)
class LogCost(_Fixed):
    """`task + weight * sum_b ln(E_b / largest_b)` [Sta19].

    A relative change of the cost is worth the same everywhere: weight nats of task loss for a
    factor e. The reference shifts the loss by a constant and changes no gradient, so the result
    does not depend on the unit; it only makes the term 0 for the largest network.

    Differs from the paper: the cost is not in ms but relative to the largest network's.

    Args:
        largest: Costs `(b,)` of the largest network, in SI units.
        weight: λ. The published example for ImageNet is 20 (its code multiplies 0.020 by 1000);
            it has to be tuned for each task, by the ratio of both gradients. The default is for
            `digits`, with `single-path` on `mbconv-digits@16`: after two to three epochs with
            cost, 0.1 left the derived latency at that of the largest network, and 1 at 17 % of it.

    Raises:
        SpaceError: A reference is not positive and finite, or the weight is negative.
    """

    largest: tuple[float, ...]
    weight: float = 0.3

    def __post_init__(self) -> None:
        _check_references("log", "largest", self.largest)
        _check_weights("log", weight=self.weight)

    def __call__(self, task: Tensor, cost: Tensor) -> Tensor:
        """The loss."""
        return task + self.weight * _logs(cost, self.largest).sum().to(task)


@dataclass(frozen=True)
class MulLog(_Fixed):
    """`a * task * prod_b (ln E_b / ln T_b)^b`, costs in units in which `T` is 80 [Cai19].

    The published form needs costs and targets above 1 and depends on their unit: in seconds both
    logarithms are negative. The paper's phone target is 80 ms, so costs are counted here in 80ths
    of the target, and `ln E / ln T = 1 + ln(E / T) / ln 80` for every target and unit.

    Differs from the paper: the unit; below `T * e / 80`, where the power would become steep and
    then undefined, the factor stays constant.

    Args:
        targets: Costs T `(b,)` in SI units.
        a: Scale of the whole loss.
        b: Exponent; 0 ignores cost.
        unit: How many units the target is.

    Raises:
        SpaceError: A target is not positive and finite, `a` or `b` is negative, or the unit is
            not above e.
    """

    targets: tuple[float, ...]
    a: float = 0.2
    b: float = 0.3
    unit: float = 80.0

    def __post_init__(self) -> None:
        _check_references("mul-log", "targets", self.targets)
        _check_weights("mul-log", a=self.a, b=self.b)
        if not (math.isfinite(self.unit) and self.unit > math.e):
            raise SpaceError(f"mul-log: a target of {self.unit} units; give more than e")

    def __call__(self, task: Tensor, cost: Tensor) -> Tensor:
        """The loss."""
        whole = math.log(self.unit)
        logs = (whole + _logs(cost, self.targets)).clamp(min=1.0)
        return self.a * task * ((logs / whole) ** self.b).prod().to(task)


@dataclass(frozen=True)
class AddLinear(_Fixed):
    """`task + weight * sum_b (E_b - T_b) / T_b` [Cai19].

    Args:
        targets: Costs T `(b,)` in SI units.
        weight: λ, 0.1 in the authors' code.

    Raises:
        SpaceError: A target is not positive and finite, or the weight is negative.
    """

    targets: tuple[float, ...]
    weight: float = 0.1

    def __post_init__(self) -> None:
        _check_references("add-linear", "targets", self.targets)
        _check_weights("add-linear", weight=self.weight)

    def __call__(self, task: Tensor, cost: Tensor) -> Tensor:
        """The loss."""
        excess = _per_budget(cost, self.targets) / _as(cost, self.targets) - 1.0
        return task + self.weight * excess.sum().to(task)


@dataclass
class AugmentedLagrangian:
    """`task + sum_b (max(0, mu_b + rho_b c_b)^2 - mu_b^2) / (2 rho_b)`: budgets as hard limits.

    The constraint is `c = ln(E / aim) <= 0` with `aim = (1 - margin) T` [Noc06, eq. 17.65 for
    inequalities]. Once an epoch, with the cost of the derived network:
    `mu <- max(0, mu + rho c)`. Using the derived and not the expected cost also corrects what
    rounding a distribution to one network adds. While a target stays broken and the excess has
    not shrunk by a quarter since the last epoch, rho grows; while the network is below the aim by
    more than `slack`, rho falls back towards its start, and mu falls with c, so that the search
    returns to the budget instead of staying far under it.

    The loss drives the search to the budget; it promises nothing about the last network, which
    `hwnas.search.gradient.budget_repair` brings under it.

    Args:
        targets: Budgets T `(b,)` in SI units.
        penalty: rho at the start, in nats of task loss.
        growth: Factor by which rho grows and falls.
        most: Largest rho.
        margin: Share of the budget that is kept free.
        slack: Relative distance under the aim beyond which rho falls.

    Raises:
        SpaceError: A target is not positive and finite, or another number is out of range.
    """

    targets: tuple[float, ...]
    penalty: float = 1.0
    growth: float = 2.0
    most: float = 100.0
    margin: float = 0.01
    slack: float = 0.02
    multipliers: npt.NDArray[np.float64] = field(init=False, repr=False)
    penalties: npt.NDArray[np.float64] = field(init=False, repr=False)
    excesses: npt.NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check_references("lagrangian", "targets", self.targets)
        _check_weights("lagrangian", slack=self.slack, margin=self.margin)
        finite = all(map(math.isfinite, (self.penalty, self.growth, self.most)))
        if not (finite and 0 < self.penalty <= self.most and self.growth > 1 and self.margin < 1):
            raise SpaceError(
                "lagrangian: give 0 < penalty <= most, growth > 1 and margin < 1, found "
                f"penalty={self.penalty}, most={self.most}, growth={self.growth}, "
                f"margin={self.margin}"
            )
        self.multipliers = np.zeros(len(self.targets))
        self.penalties = np.full(len(self.targets), self.penalty)
        self.excesses = np.full(len(self.targets), np.inf)

    def __call__(self, task: Tensor, cost: Tensor) -> Tensor:
        """The loss."""
        constraint = _logs(cost, self._aims)
        mu, rho = _as(cost, self.multipliers), _as(cost, self.penalties)
        pressure = (mu + rho * constraint).clamp(min=0.0)
        return task + ((pressure**2 - mu**2) / (2.0 * rho)).sum().to(task)

    def update(self, derived_cost: npt.ArrayLike) -> None:
        """Adapt multipliers and penalties to the costs `(b,)` of the derived network."""
        derived = np.atleast_1d(np.asarray(derived_cost, dtype=np.float64))
        if derived.shape != (len(self.targets),):
            raise SpaceError(_wrong_number(derived.shape, len(self.targets)))
        if not (np.isfinite(derived) & (derived > 0)).all():
            raise SpaceError(f"lagrangian: derived cost is {derived}; it must be positive")
        constraint = np.log(derived / np.array(self._aims))
        excess = np.maximum(0.0, np.log(derived / np.array(self.targets)))
        self.multipliers = np.maximum(0.0, self.multipliers + self.penalties * constraint)
        grows = (self.excesses > 0) & (excess > 0.75 * self.excesses)
        falls = constraint < -self.slack
        self.penalties = np.where(grows, self.penalties * self.growth, self.penalties)
        self.penalties = np.where(falls, self.penalties / self.growth, self.penalties)
        self.penalties = np.clip(self.penalties, self.penalty, self.most)
        self.excesses = excess

    def state(self) -> dict[str, float]:
        """Multiplier, penalty and last excess of each budget."""
        return {
            f"{name}.{i}": float(value)
            for name, values in self._arrays().items()
            for i, value in enumerate(values)
        }

    def restore(self, state: Mapping[str, float]) -> None:
        """Go on from a state."""
        _check_keys(state, set(self.state()))
        read = {
            name: np.array([float(state[f"{name}.{i}"]) for i in range(len(self.targets))])
            for name in self._arrays()
        }
        penalties, rest = read["penalty"], (read["multiplier"], read["excess"])
        sound = bool(np.isfinite(read["multiplier"]).all() and np.isfinite(penalties).all())
        if not (sound and (penalties > 0).all() and all((values >= 0).all() for values in rest)):
            raise RunError(f"state of the lagrangian is out of range: {dict(state)}")
        self.multipliers, self.penalties, self.excesses = (
            read["multiplier"],
            penalties,
            read["excess"],
        )

    @property
    def _aims(self) -> tuple[float, ...]:
        return tuple((1.0 - self.margin) * target for target in self.targets)

    def _arrays(self) -> dict[str, npt.NDArray[np.float64]]:
        return {
            "multiplier": self.multipliers,
            "penalty": self.penalties,
            "excess": self.excesses,
        }


#: Name on the command line -> class and the name of its reference argument.
HARDWARE_LOSSES: dict[str, tuple[Callable[..., HardwareLoss], str]] = {
    "log": (LogCost, "largest"),
    "mul-log": (MulLog, "targets"),
    "add-linear": (AddLinear, "targets"),
    "lagrangian": (AugmentedLagrangian, "targets"),
}


def make_hardware_loss(
    name: str,
    *,
    targets: Sequence[float] = (),
    largest: Sequence[float] = (),
    **options: float,
) -> HardwareLoss:
    """The loss of that name.

    Args:
        name: A name in `HARDWARE_LOSSES`.
        targets: Budget of each cost, in SI units; `log` does without.
        largest: The same costs of the largest network; only `log` needs them.
        options: The loss's own numbers, such as `weight`.

    Raises:
        SpaceError: The name or an option is unknown, or a number is out of range.
    """
    if name not in HARDWARE_LOSSES:
        raise SpaceError(
            f"unknown hardware loss {name!r}; available: {', '.join(HARDWARE_LOSSES)}"
        )
    made, reference = HARDWARE_LOSSES[name]
    given = {"targets": targets, "largest": largest}[reference]
    try:
        return made(tuple(float(value) for value in given), **options)
    except TypeError as error:
        raise SpaceError(f"hardware loss {name!r}: {error}") from error


def _logs(cost: Tensor, references: Sequence[float]) -> Tensor:
    return torch.log(_per_budget(cost, references) / _as(cost, references))


def _per_budget(cost: Tensor, references: Sequence[float]) -> Tensor:
    values = cost.reshape(1) if cost.ndim == 0 else cost
    if tuple(values.shape) != (len(references),):
        raise SpaceError(_wrong_number(tuple(cost.shape), len(references)))
    return values


def _as(cost: Tensor, values: npt.ArrayLike) -> Tensor:
    return torch.as_tensor(values, dtype=cost.dtype, device=cost.device)


def _wrong_number(shape: tuple[int, ...], wanted: int) -> str:
    return f"hardware loss over {wanted} costs: expected shape ({wanted},), found {shape}"


def _check_references(name: str, argument: str, values: Sequence[float]) -> None:
    if not values or not all(math.isfinite(value) and value > 0 for value in values):
        raise SpaceError(
            f"hardware loss {name!r}: {argument} is {tuple(values)}; give positive costs"
        )


def _check_weights(loss: str, **weights: float) -> None:
    for name, value in weights.items():
        if not (math.isfinite(value) and value >= 0):
            raise SpaceError(f"hardware loss {loss!r}: {name} is {value}; give 0 or more")


def _check_keys(state: Mapping[str, float], wanted: set[str]) -> None:
    if set(state) != wanted:
        raise RunError(
            f"state of another hardware loss: found {sorted(state)}, expected {sorted(wanted)}"
        )
