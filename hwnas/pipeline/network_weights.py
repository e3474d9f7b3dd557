"""Weights of one network of a run: inherited, fine-tuned, or trained from scratch."""

from dataclasses import dataclass

import numpy as np
import torch

from hwnas.datasets.dataset import Dataset, load_dataset_for
from hwnas.datasets.image_size import fit_dataset
from hwnas.errors import ExportError
from hwnas.graph import shape_of
from hwnas.lowering import Weights
from hwnas.pipeline.training import training_options
from hwnas.progress import Progress, silent
from hwnas.search.run_directory import RunDirectory
from hwnas.spaces import Architecture, SearchSpace
from hwnas.training.checkpoint import load_supernet
from hwnas.training.finetuning import FINETUNING, finetune, train_alone
from hwnas.training.options import TrainingOptions
from hwnas.training.supernet_training import check_data

__all__ = ["NetworkWeights", "network_weights"]

_INHERITED = (
    "{score}, by the sub-net with inherited weights and recalibrated batch norm; the search saw "
    "these images."
)
_UNSEEN = "{score}, by the exported weights; nothing saw these images before."
_FINETUNED = "{score}, by the fine-tuned weights."
_FROM_SCRATCH = "{score}, by weights that were trained from scratch."


@dataclass(frozen=True)
class NetworkWeights:
    """Weights, and how they came to be.

    Args:
        weights: By the names of the network.
        dataset: The run's, at the side of the network's images.
        how: Split to a sentence on its score; `{score}` stands for what is counted.
    """

    weights: Weights
    dataset: Dataset
    how: dict[str, str]


def network_weights(
    run: RunDirectory,
    space: SearchSpace,
    architecture: Architecture,
    *,
    epochs: int,
    seed: int,
    progress: Progress = silent,
) -> NetworkWeights:
    """Weights of a network of a finished search.

    Args:
        run: Its run directory.
        space: Its space.
        architecture: The network.
        epochs: Of training of this network alone: on from inherited weights, or from scratch where
            the search trained no supernet.
        seed: Of that training.
        progress: Called with a line of text and the share done.

    Raises:
        DataError: The run's data cannot be loaded or do not fit the network.
        ExportError: There are no weights, and no epochs to train any.
        RunError: The supernet's checkpoint is damaged.
    """
    arguments, rng = run.record.arguments, np.random.default_rng(seed)
    loaded = load_dataset_for(space, arguments["data"])
    _, _, *side = shape_of(space.network(architecture).inputs[0])
    dataset = fit_dataset(loaded, (side[0], side[1]))

    def told(done: int, of: int, _: object) -> None:
        progress(f"training the network, epoch {done} of {of}", done / of)

    if not run.has(run.supernet_path.name):
        if not epochs:
            raise ExportError(
                f"{run.path} has no trained weights, for its estimator was "
                f"{arguments['estimator']!r}: train this network from scratch by "
                "--finetune-epochs, such as 50"
            )
        check_data(space, loaded)
        options = training_options(TrainingOptions(), {"epochs": epochs}, dataset)
        weights = train_alone(space, architecture, dataset, options, rng=rng, progress=told)
        return NetworkWeights(weights, dataset, _both(_FROM_SCRATCH))
    supernet = load_supernet(run.supernet_path, space)
    statistics = supernet.calibrate(architecture, torch.from_numpy(dataset.x_train))
    weights = supernet.weights(architecture, statistics)
    if not epochs:
        return NetworkWeights(weights, dataset, {"validation": _INHERITED, "test": _UNSEEN})
    options = training_options(FINETUNING, {"epochs": epochs}, dataset)
    weights = finetune(space, architecture, weights, dataset, options, rng=rng, progress=told)
    return NetworkWeights(weights, dataset, _both(_FINETUNED))


def _both(text: str) -> dict[str, str]:
    return {"validation": text, "test": text}
