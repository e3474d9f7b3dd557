"""What a search or a training is asked for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwnas.errors import QuantityError
from hwnas.quantities import parse_metric
from hwnas.targets import Settings

__all__ = ["Limit", "SearchRequest", "TrainRequest"]


@dataclass(frozen=True)
class Limit:
    """An upper limit on a metric.

    Args:
        metric: Such as `latency_s`.
        value: In SI units, or a share of what the largest network of the space costs.
        is_share: Which of the two.
    """

    metric: str
    value: float
    is_share: bool = False

    @classmethod
    def parse(cls, text: str, metric: str) -> "Limit":
        """Read `2ms`, or `50%` of the largest network.

        Raises:
            QuantityError: Neither a quantity of the metric nor a percentage.
        """
        if not text.strip().endswith("%"):
            return cls(metric, parse_metric(text, metric))
        try:
            share = float(text.strip()[:-1]) / 100.0
        except ValueError:
            share = 0.0
        if not 0.0 < share <= 1.0:
            raise QuantityError(f"{text!r} is no share of the largest network: 0% < share <= 100%")
        return cls(metric, share, is_share=True)


@dataclass(frozen=True)
class SearchRequest:
    """Arguments of a search.

    Args:
        space: Name of the space.
        target: Name of the target.
        settings: How networks run on it.
        limits: Budgets.
        strategy: Name of the strategy.
        estimator: Name of the estimator.
        data: Data set, as `--data` takes it.
        error_table: What the estimator `tabulated` reads.
        interpolate: Whether it interpolates where the table has no row.
        proxies: What the estimator `zero-cost` goes by; empty for its own choice.
        supernet: Run directory of a trained supernet; None to train one.
        recipe: How a supernet is trained.
        hardware_loss: How gradient-based strategies weigh cost; None for their own choice.
        cost_weight: Weight of the cost where the hardware loss has a fixed one.
        training: Options of training that are not the recipe's or strategy's own, by name.
        device: Where torch computes.
        evaluations: Architectures to evaluate.
        population: Architectures per generation.
        seed: Of all random draws.
    """

    space: str
    target: str = "cpu"
    settings: Settings = field(default_factory=Settings)
    limits: tuple[Limit, ...] = ()
    strategy: str = "nsga2"
    estimator: str = "supernet"
    data: str = "digits"
    error_table: Path | None = None
    interpolate: bool = False
    proxies: tuple[str, ...] = ()
    supernet: Path | None = None
    recipe: str = "sandwich"
    hardware_loss: str | None = None
    cost_weight: float | None = None
    training: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    evaluations: int = 400
    population: int = 40
    seed: int = 0

    def arguments(self) -> dict[str, Any]:
        """What `run.json` keeps and a resumed run must repeat."""
        return {
            "space": self.space,
            "target": self.target,
            **self.settings.arguments(),
            "limits": {
                limit.metric: f"{100 * limit.value:g}%" if limit.is_share else limit.value
                for limit in self.limits
            },
            "strategy": self.strategy,
            "estimator": self.estimator,
            "data": self.data,
            "error_table": None if self.error_table is None else str(self.error_table),
            "interpolate": self.interpolate,
            "proxies": list(self.proxies),
            "supernet": None if self.supernet is None else str(self.supernet),
            "recipe": self.recipe,
            "hardware_loss": self.hardware_loss,
            "cost_weight": self.cost_weight,
            "training": self.training,
            "device": self.device,
            "evaluations": self.evaluations,
            "population": self.population,
        }


@dataclass(frozen=True)
class TrainRequest:
    """Arguments of a training.

    Args:
        space: Name of the space.
        data: Data set, as `--data` takes it.
        recipe: Name of the recipe.
        training: Options of training that are not the recipe's own, by name.
        device: Where torch computes.
        seed: Of all random draws.
    """

    space: str
    data: str = "digits"
    recipe: str = "sandwich"
    training: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    seed: int = 0

    def arguments(self) -> dict[str, Any]:
        """What `run.json` keeps and a resumed run must repeat."""
        return {
            "space": self.space,
            "data": self.data,
            "recipe": self.recipe,
            "training": self.training,
            "device": self.device,
        }
