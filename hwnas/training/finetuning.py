"""Training of one network by itself: from inherited weights, or from scratch."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from hwnas.datasets.dataset import Dataset
from hwnas.datasets.image_size import fit_dataset
from hwnas.datasets.task import get_task
from hwnas.graph import shape_of
from hwnas.lowering.onnx_model import Weights
from hwnas.lowering.torch_module import TorchModule
from hwnas.spaces import Architecture, SearchSpace
from hwnas.supernet.calibration import average_statistics
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.training.loop import TrainingLoop, make_optimiser
from hwnas.training.options import TrainingOptions
from hwnas.training.path_gradients import Metrics
from hwnas.training.recipe import Batch
from hwnas.training.supernet_training import Progress

__all__ = ["FINETUNING", "finetune", "train_alone"]

FINETUNING = replace(TrainingOptions(), learning_rate=TrainingOptions.learning_rate / 5)


def finetune(
    space: SearchSpace,
    architecture: Architecture,
    weights: Weights,
    dataset: Dataset,
    options: TrainingOptions = FINETUNING,
    *,
    rng: np.random.Generator,
    progress: Progress | None = None,
    device: str = "cpu",
) -> dict[str, npt.NDArray[np.float32]]:
    """Weights of one network after it was trained by itself, from inherited weights on.

    Args:
        space: The space.
        architecture: The network.
        weights: Where it starts, from `Supernet.weights` with the network's statistics.
        dataset: Only its training split is looked at.
        options: How; by default 10 epochs at a fifth of the usual learning rate.
        rng: The only source of chance.
        progress: Called after every epoch.
        device: Where torch trains.

    Raises:
        DivergenceError: The loss is not finite.
        LoweringError: The weights do not fit the network.
    """
    network = space.network(architecture)
    _, _, height, width = shape_of(network.inputs[0])
    dataset, task = fit_dataset(dataset, (height, width)), get_task(dataset.task)
    module = TorchModule(network, weights).to(device)
    module.train()
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    optimiser = make_optimiser(list(module.parameters()), options)
    loop = TrainingLoop(dataset, options, generator, device)

    def step(batch: Batch) -> Metrics:
        logits = module(batch.images)
        loss = task.loss(logits, batch.labels, options.label_smoothing)
        loop.scale(loss).backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.item()}

    for epoch in range(options.epochs):
        order = torch.randperm(len(dataset.x_train), generator=generator)
        metrics = loop.epoch(lambda _: step, optimiser, order, epoch)
        if progress is not None:
            progress(epoch + 1, options.epochs, metrics)
    tensors = module.tensors()
    images = torch.from_numpy(dataset.x_train).to(device)
    statistics = average_statistics(
        lambda batch, record: module.plan((batch,), tensors, normalise=record), images
    )
    return module.weights() | {name: value.cpu().numpy() for name, value in statistics.items()}


def train_alone(
    space: SearchSpace,
    architecture: Architecture,
    dataset: Dataset,
    options: TrainingOptions | None = None,
    *,
    rng: np.random.Generator,
    progress: Progress | None = None,
    device: str = "cpu",
) -> dict[str, npt.NDArray[np.float32]]:
    """Weights of one network that was trained from scratch: what its accuracy really is.

    Args:
        space: The space.
        architecture: The network.
        dataset: Only its training split is looked at.
        options: How; by default `TrainingOptions()`.
        rng: The only source of chance.
        progress: Called after every epoch.
        device: Where torch trains.

    Raises:
        DivergenceError: The loss is not finite.
    """
    options = options or TrainingOptions()
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    start = ElasticSupernet(space, generator, zero_residual_scale=options.zero_residual_scale)
    weights = start.weights(architecture)
    return finetune(
        space, architecture, weights, dataset, options, rng=rng, progress=progress, device=device
    )
