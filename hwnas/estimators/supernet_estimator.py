"""Error of sub-nets that take their weights from a trained supernet."""

from collections.abc import Sequence

import numpy as np
import torch

from hwnas.datasets.dataset import Dataset
from hwnas.datasets.task import get_task
from hwnas.errors import DataError
from hwnas.estimators.estimator import Errors
from hwnas.estimators.evaluated import Accounted, Evaluated, Values
from hwnas.spaces import Architecture, Population
from hwnas.supernet.calibration import Statistics
from hwnas.supernet.supernet import Supernet
from hwnas.supernet.threads import side_by_side

__all__ = ["CALIBRATION_IMAGES", "SupernetEstimator"]

CALIBRATION_IMAGES = 128  # of the training split; see `SupernetEstimator`


class SupernetEstimator(Accounted):
    """Error on the validation split under inherited weights, as the data's task defines it.

    Each sub-net gets its own batch norm statistics from the first images of the training split
    and is then run once over the validation split. The error of classifiers is a plain share of
    wrong images, nothing is mixed in, so it comes in steps of `resolution` and small validation
    splits make ties; a search that also minimises a cost rightly takes the cheaper of two. To
    order ties among candidates for a final pick, ask `cross_entropy`, which costs nothing more.

    Args:
        supernet: The trained supernet.
        dataset: Its training and validation splits are used, its test split never is.
        calibration_images: Training images for the statistics.

    Raises:
        DataError: There are no images to calibrate with.
    """

    name = "supernet"

    def __init__(
        self,
        supernet: Supernet,
        dataset: Dataset,
        *,
        calibration_images: int = CALIBRATION_IMAGES,
    ) -> None:
        if calibration_images < 2:
            raise DataError(
                f"{calibration_images} images cannot calibrate a network; give 2 or more"
            )
        self._supernet = supernet
        self._task = get_task(dataset.task)
        device = next(supernet.parameters()).device
        self._device = device.type
        self._calibration = torch.from_numpy(dataset.x_train[:calibration_images]).to(device)
        self._images = torch.from_numpy(dataset.x_val).to(device)
        self._labels = torch.from_numpy(dataset.y_val).to(device)
        self._evaluated = Evaluated(supernet.space, 2, self._evaluate)

    @property
    def resolution(self) -> float:
        """Share of one validation image, or of one pixel of all masks."""
        return 1.0 / self._labels.numel()

    def error(self, population: Population) -> Errors:
        """Error on the validation images, `(n,)`, from 0 to 1.

        Args:
            population: `(n, d)`.

        Raises:
            SpaceError: The population is not of the supernet's space.
        """
        return self._evaluated(population)[:, 0]

    def cross_entropy(self, population: Population) -> Errors:
        """Mean cross-entropy on the validation images in nats, `(n,)`; orders equal errors.

        Of images, or of pixels.

        Args:
            population: `(n, d)`.

        Raises:
            SpaceError: The population is not of the supernet's space.
        """
        return self._evaluated(population)[:, 1]

    def ranking(self, population: Population) -> Errors:
        """Error with ties in the order of cross-entropy, `(n,)`; what a search minimises.

        Adds less than one image or pixel to the error: `resolution * h / (1 + h)` for a
        cross-entropy h.

        Args:
            population: `(n, d)`.

        Raises:
            SpaceError: The population is not of the supernet's space.
        """
        entropy = self.cross_entropy(population)
        return self.error(population) + self.resolution * entropy / (1.0 + entropy)

    def statistics(self, architecture: Architecture) -> Statistics:
        """Batch norm statistics under which an architecture was evaluated, for its export.

        Args:
            architecture: The sub-net.
        """
        return self._supernet.calibrate(architecture, self._calibration)

    def _evaluate(self, rows: Population) -> Values:
        space = self._supernet.space
        architectures = [Architecture(space.name, tuple(row)) for row in rows.tolist()]
        with side_by_side(self._device) as executor:
            run = map if executor is None else executor.map
            return np.array(list(run(self._judge, architectures)))

    def _judge(self, architecture: Architecture) -> Sequence[float]:
        statistics = self._supernet.calibrate(architecture, self._calibration)
        logits = self._supernet.logits(architecture, self._images, statistics)
        entropy = self._task.cross_entropy(logits, self._labels).item()
        return self._task.error(logits, self._labels), entropy
