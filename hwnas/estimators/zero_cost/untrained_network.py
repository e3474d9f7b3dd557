"""A network before any training, and what it is shown."""

import math
from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor

from hwnas.datasets.task import get_task
from hwnas.errors import LoweringError
from hwnas.graph import Graph, shape_of
from hwnas.lowering.torch_module import Normalise, TorchPlan

__all__ = ["BATCHES", "UntrainedNetwork"]

BATCHES = 2  # of noise; ZiCo compares gradients of two


class UntrainedNetwork:
    """A network with random weights, Gaussian images and random labels.

    Kernels and matrices are drawn as torch's own layers draw them, evenly within
    `1 / sqrt(fan in)`, as in the papers on zero-cost proxies; batch normalisations scale by 1 and
    shift by 0, biases are 0. Batch normalisation uses the statistics of the batch.

    Labels are classes, or the foreground of masks for networks that give an image.

    Args:
        graph: The network; its own batch size is of no account.
        generator: Source of weights, images and labels.
        images: How many are in a batch.
        device: Where torch computes. Everything is drawn on the CPU.

    Raises:
        LoweringError: The network has several inputs, or an operator that torch lacks.
    """

    def __init__(
        self, graph: Graph, generator: torch.Generator, images: int, device: str = "cpu"
    ) -> None:
        if len(graph.inputs) != 1:
            raise LoweringError(f"{graph.name!r} has {len(graph.inputs)} inputs; proxies take one")
        self.graph = graph
        self.device = device
        self.plan = TorchPlan(graph)
        self.plan.to(device)
        self._image_shape = shape_of(graph.inputs[0])[1:]
        output = shape_of(graph.outputs[0])[1:]
        self._task = get_task("classification" if len(output) == 1 else "segmentation")
        statistics = self.plan.statistics
        self.weights: dict[str, Tensor] = {
            name: _initial(name, shape, generator).to(device).requires_grad_()
            for name, shape in self.plan.weight_shapes.items()
            if name not in statistics
        }
        self.kernels = tuple(name for name, w in self.weights.items() if w.ndim > 1)
        self._batches = []
        for _ in range(BATCHES):
            noise = torch.randn((images, *self._image_shape), generator=generator)
            if self._task.name == "classification":
                labels = torch.randint(output[0], (images,), generator=generator)
            else:
                labels = torch.randint(2, (images, *output), generator=generator)
            self._batches.append((noise.to(device), labels.to(device)))

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width."""
        return self._image_shape

    @property
    def images(self) -> Tensor:
        """The first batch, `(n, c, h, w)`."""
        return self._batches[0][0]

    def outputs(
        self,
        images: Tensor,
        weights: Mapping[str, Tensor] | None = None,
        *,
        normalise: Normalise | None = None,
        plan: TorchPlan | None = None,
    ) -> Tensor:
        """What the network says of images.

        Args:
            images: `(n, c, h, w)`.
            weights: In place of its own.
            normalise: In place of batch normalisations.
            plan: In place of its own.
        """
        run = plan or self.plan
        taken = self.weights if weights is None else weights
        return run((images,), taken, training=True, normalise=normalise)[0]

    @cached_property
    def loss_gradients(self) -> dict[str, Tensor]:
        """Gradient of the loss of the first batch, by the names of the kernels."""
        return self.gradients_of_batch(0)

    def gradients_of_batch(self, index: int) -> dict[str, Tensor]:
        """Gradient of the mean loss of one batch, by the names of the kernels.

        Args:
            index: Of the batch, below `BATCHES`.
        """
        images, labels = self._batches[index]
        loss = self._task.cross_entropy(self.outputs(images), labels)
        kernels = [self.weights[name] for name in self.kernels]
        found = torch.autograd.grad(loss, kernels, allow_unused=True)
        return {
            name: torch.zeros_like(kernel) if gradient is None else gradient
            for name, kernel, gradient in zip(self.kernels, kernels, found, strict=True)
        }


def _initial(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    if len(shape) > 1:
        bound = 1.0 / math.sqrt(math.prod(shape[1:]))
        return (2.0 * torch.rand(shape, generator=generator) - 1.0) * bound
    return torch.ones(shape) if name.endswith("/scale") else torch.zeros(shape)
