"""Error of networks that are trained from scratch, each by itself: what others only estimate."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from zlib import crc32

import numpy as np
import torch

from hwnas.datasets.dataset import Dataset
from hwnas.datasets.image_size import fit_images
from hwnas.datasets.task import get_task
from hwnas.estimators.error_table import ErrorLog
from hwnas.estimators.estimator import Errors
from hwnas.estimators.evaluated import Accounted, Evaluated, Values
from hwnas.graph import shape_of
from hwnas.lowering.torch_module import TorchModule
from hwnas.progress import Progress, silent
from hwnas.spaces import Architecture, Population, SearchSpace
from hwnas.training.finetuning import train_alone
from hwnas.training.options import TrainingOptions
from hwnas.training.supernet_training import check_data

__all__ = ["TrainedAloneEstimator"]

_EVALUATED_AT_A_TIME = 64


class TrainedAloneEstimator(Accounted):
    """Error on the validation split after a training from scratch.

    The weights a network starts with, the order of its images and their changes depend on the
    network and the seed alone, so that an error is the same whenever it is asked for.

    Args:
        space: The space.
        dataset: Its training and validation splits are used.
        options: Of each training; by default `TrainingOptions()`.
        seed: Of all trainings.
        cache: A `.csv` file that keeps every error as soon as it is known, a table as
            `TabulatedEstimator` reads it; a killed run loses the network in training.
        device: Where torch trains.
        progress: Called with a line of text and the share done, after every network.

    Raises:
        DataError: The data do not fit the space's networks.
        RunError: The cache is of another space, data set, seed or options.
        TableError: The cache is malformed.
    """

    name = "trained"

    def __init__(
        self,
        space: SearchSpace,
        dataset: Dataset,
        options: TrainingOptions | None = None,
        *,
        seed: int = 0,
        cache: Path | None = None,
        device: str = "cpu",
        progress: Progress = silent,
    ) -> None:
        check_data(space, dataset)
        self._space, self._dataset = space, dataset
        self._options = options or TrainingOptions()
        self._seed, self._device, self._progress = seed, device, progress
        self._cache = cache
        self._notes = {
            "space": space.name,
            "data": dataset.name,
            "seed": str(seed),
            "options": repr(self._options),
            "provenance": "measured",
            "how": "each network trained from scratch by itself, error on the validation split",
        }
        self._evaluated = Evaluated(space, 1, self._evaluate)

    def error(self, population: Population) -> Errors:
        """Validation error of each architecture after its training, `(n,)`, from 0 to 1.

        Args:
            population: `(n, d)`.

        Raises:
            DivergenceError: The loss of a network is not finite.
            RunError: The cache is of something else, or cannot be written.
            SpaceError: The population is not of the space.
        """
        return self._evaluated(population)[:, 0]

    def test_error(self, architecture: Architecture) -> float:
        """Error on the test split, which nothing saw before; the network is trained once more.

        Args:
            architecture: The network.

        Raises:
            DivergenceError: The loss is not finite.
        """
        return self._trained(architecture)(self._dataset.x_test, self._dataset.y_test)

    def _evaluate(self, rows: Population) -> Values:
        values = np.empty((len(rows), 1))
        log = None
        if self._cache is not None:
            log = ErrorLog(self._cache, self._space, self._notes, ("seconds",))
        with log or nullcontext():
            known: dict[bytes, float] = {}
            if log is not None:
                keys = map(bytes, log.known.population)
                known = dict(zip(keys, log.known.error.tolist(), strict=True))
            for index, row in enumerate(rows):
                found = known.get(bytes(row))
                if found is None:
                    begin = time.perf_counter()
                    judge = self._trained(self._space.architecture(row))
                    found = judge(self._dataset.x_val, self._dataset.y_val)
                    if log is not None:
                        log.add(row, found, time.perf_counter() - begin)
                values[index] = found
                self._progress(
                    f"trained {index + 1} of {len(rows)} networks", (index + 1) / len(rows)
                )
        return values

    def _trained(self, architecture: Architecture) -> Callable[[np.ndarray, np.ndarray], float]:
        """Train a network; what it returns gives the error for images and labels."""
        space = self._space
        key = [self._seed, crc32(space.name.encode()), *architecture.indices]
        weights = train_alone(
            space,
            architecture,
            self._dataset,
            self._options,
            rng=np.random.default_rng(key),
            device=self._device,
        )
        network = space.network(architecture)
        module = TorchModule(network, weights).to(self._device).eval()
        _, _, height, width = shape_of(network.inputs[0])
        task = get_task(self._dataset.task)

        @torch.no_grad()
        def judge(x: np.ndarray, y: np.ndarray) -> float:
            batches = torch.split(torch.from_numpy(x).to(self._device), _EVALUATED_AT_A_TIME)
            outputs = torch.cat([module(fit_images(b, (height, width))) for b in batches])
            return task.error(outputs, torch.from_numpy(y).to(self._device))

        return judge
