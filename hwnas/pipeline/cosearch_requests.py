"""What a co-search is asked for."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hwnas.cosearch import STRATEGIES, check_weights
from hwnas.errors import PluginError, SpaceError
from hwnas.estimators import available_estimators
from hwnas.graph import shape_of
from hwnas.spaces import SearchSpace

__all__ = ["CoSearchRequest", "default_data"]


@dataclass(frozen=True)
class CoSearchRequest:
    """Arguments of a co-search.

    Args:
        spaces: Names of the networks' spaces, one for each task.
        spec: Upper limits, such as `latency=8e5cycles,energy=2e9nJ,area=4e9um2`.
        hardware: Name of the chips' space.
        technology: Profile of the costs, a name or a TOML file.
        strategy: Name of the way to search.
        estimator: Name of the estimator, for all tasks.
        data: Data set of each task; empty for the one of its kind that needs no download.
        error_tables: For the estimator `tabulated`: a file for each task.
        interpolate: Whether errors that a table lacks are interpolated.
        weights: Of the tasks' errors, shares of 1; empty for equal ones.
        recipe: How supernets are trained.
        training: Options of training that are not the recipe's own, by name.
        device: Where torch trains networks.
        episodes: Episodes, or for NSGA-II as many designs as episodes have.
        hardware_steps: Chips that are tried for the networks of an episode beside its own.
        seed: Of all random draws.

    Raises:
        QuantityError: The weights are no shares of 1, one for each space.
        SpaceError: No space, an unknown strategy, or not one data set or table for each space.
        PluginError: An unknown estimator.
    """

    spaces: tuple[str, ...]
    spec: str
    hardware: str = "accelerator"
    technology: str = "maestro2020"
    strategy: str = "nasaic"
    estimator: str = "trained"
    data: tuple[str, ...] = ()
    error_tables: tuple[Path, ...] = ()
    interpolate: bool = False
    weights: tuple[float, ...] = ()
    recipe: str = "sandwich"
    training: dict[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    episodes: int = 500
    hardware_steps: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        tasks = len(self.spaces)
        if not tasks or not all(self.spaces):
            raise SpaceError("name the spaces of the networks, such as --spaces resnet9,unet")
        check_weights(self.shares, tasks)
        if self.strategy not in STRATEGIES:
            raise SpaceError(
                f"unknown strategy {self.strategy!r}; available: {', '.join(sorted(STRATEGIES))}"
            )
        if self.estimator not in available_estimators():
            raise PluginError(
                f"unknown estimator {self.estimator!r}; available: "
                f"{', '.join(available_estimators())}"
            )
        if self.data and len(self.data) != tasks:
            raise SpaceError(f"{len(self.data)} data sets for {tasks} spaces: give one for each")
        if self.estimator == "tabulated" and len(self.error_tables) != tasks:
            raise SpaceError(
                f"{len(self.error_tables)} error tables for {tasks} spaces: give one for each"
            )

    @property
    def shares(self) -> tuple[float, ...]:
        """Weights, equal ones where none were given."""
        return self.weights or tuple(1.0 / len(self.spaces) for _ in self.spaces)

    def arguments(self) -> dict[str, Any]:
        """What `run.json` keeps and a resumed run must repeat."""
        return {
            "spaces": list(self.spaces),
            "hardware": self.hardware,
            "spec": self.spec,
            "technology": self.technology,
            "strategy": self.strategy,
            "estimator": self.estimator,
            "data": list(self.data),
            "error_tables": [str(path) for path in self.error_tables],
            "interpolate": self.interpolate,
            "weights": list(self.shares),
            "recipe": self.recipe,
            "training": self.training,
            "device": self.device,
            "episodes": self.episodes,
            "hardware_steps": self.hardware_steps,
        }


def default_data(space: SearchSpace) -> str:
    """`nuclei` for networks that give a map, `digits` for others."""
    result = space.network(space.smallest()).outputs[0]
    return "nuclei" if len(shape_of(result)) == 4 else "digits"
