"""Training of a supernet: the sandwich rule with in-place distillation, or one path at a time.

Each step trains the largest and the smallest sub-net and a few random ones on one batch; the
largest learns from the labels, the others from its predictions; gradients are summed and one step
is made (Yu et al., BigNAS, ECCV 2020). With `sandwich` off, random sub-nets learn from the labels
(Guo et al., Single Path One-Shot, ECCV 2020).

Differs from the papers: cosine learning rate, gradient clipping, weight decay on kernels only.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from hwnas.errors import HwnasError, SpaceError
from hwnas.graph import shape_of
from hwnas.lowering.onnx_model import Weights
from hwnas.lowering.torch_module import TorchModule
from hwnas.spaces import Architecture, SearchSpace
from hwnas.supernet.augmentation import Augmentation
from hwnas.supernet.calibration import average_statistics
from hwnas.supernet.checkpoint import load_training, save_training
from hwnas.supernet.datasets import Dataset
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.threads import side_by_side

__all__ = [
    "DivergenceError",
    "Progress",
    "Recipe",
    "TrainedSupernet",
    "finetune",
    "learning_rate_at",
    "sandwich_paths",
    "train_supernet",
    "training_step",
]

log = logging.getLogger(__name__)

Metrics = dict[str, float]
_Derived = tuple[tuple[Tensor | None, ...], float]
Progress = Callable[[int, int, Metrics], None]
"""Called as `progress(epoch, epochs, metrics)` after every epoch, epochs counted from 1."""


class DivergenceError(HwnasError, RuntimeError):
    """Training went to values that are not finite."""


@dataclass(frozen=True)
class Recipe:
    """How a supernet, or one network, is trained.

    The defaults were chosen on the validation split of `digits` with `mbconv-digits`, 3 seeds: so
    few epochs leave the largest sub-net too weak a teacher, and labels serve all sub-nets better
    (mean validation error of 24 sub-nets of at most half the work after 10 epochs: 0.9 % against
    1.7 % with distillation). When training longer, or on more classes, try `distillation`.

    Args:
        epochs: Passes over the training split.
        batch_size: Images a step.
        learning_rate: Peak of the schedule.
        momentum: Of Nesterov's gradient descent.
        weight_decay: On kernels and matrices; never on normalisations and biases.
        warmup_share: Share of all steps in which the learning rate rises linearly.
        final_share: Share of the peak at which the learning rate ends.
        label_smoothing: Mass that the target gives to all classes alike.
        sandwich: Whether the largest and the smallest sub-net are part of every step.
        distillation: Whether all but the largest learn from its predictions; needs `sandwich`.
        random_paths: Random sub-nets a step.
        gradient_clip: Largest norm of the whole gradient.
        augmentation: Random changes of the images; None for none.
        zero_residual_scale: Whether residual branches start at zero.
    """

    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 0.3
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup_share: float = 0.1
    final_share: float = 0.01
    label_smoothing: float = 0.1
    sandwich: bool = True
    distillation: bool = False
    random_paths: int = 2
    gradient_clip: float = 5.0
    augmentation: Augmentation | None = field(default_factory=Augmentation)
    zero_residual_scale: bool = True

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 2:
            raise SpaceError(
                f"training for {self.epochs} epochs in batches of {self.batch_size} is not "
                "possible; give at least 1 epoch and batches of at least 2"
            )
        if self.random_paths < (0 if self.sandwich else 1):
            raise SpaceError(f"{self.random_paths} random sub-nets a step; give at least one")


@dataclass(frozen=True, eq=False)
class TrainedSupernet:
    """A trained supernet and its log.

    Args:
        supernet: The network.
        rows: Metrics of every epoch, those before a resume included.
        seconds: Wall time of this call.
    """

    supernet: ElasticSupernet
    rows: tuple[Metrics, ...]
    seconds: float


def train_supernet(
    space: SearchSpace,
    dataset: Dataset,
    recipe: Recipe | None = None,
    *,
    rng: np.random.Generator,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    device: str = "cpu",
) -> TrainedSupernet:
    """Train a supernet on the training split.

    Args:
        space: The space.
        dataset: Only its training split is looked at.
        recipe: How; by default `Recipe()`.
        rng: The only source of chance; on resume its state is replaced by the saved one.
        checkpoint: File that is replaced after every epoch.
        resume: Go on from `checkpoint` if it is there; the result is that of an unbroken run.
        progress: Called after every epoch.
        device: Where torch trains.

    Raises:
        DataError: The images do not fit the space's networks.
        DivergenceError: The loss is not finite; the checkpoint of the epoch before is kept.
        RunError: The checkpoint is corrupt, or of another space, data set or recipe.
    """
    recipe = recipe or Recipe()
    begin = time.perf_counter()
    network = space.network(space.smallest())
    dataset.check_network_input(shape_of(network.inputs[0]), shape_of(network.outputs[0])[-1])
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    supernet = ElasticSupernet(space, generator, zero_residual_scale=recipe.zero_residual_scale)
    supernet.to(device)
    optimiser = _optimiser(supernet.shared_parameters(), recipe)
    identity = {"space": space.name, "dataset": dataset.name, "recipe": repr(recipe)}
    rows: list[Metrics] = []
    if resume and checkpoint is not None and checkpoint.exists():
        rows = load_training(checkpoint, identity, supernet, optimiser, generator, rng)
    x, y = (torch.from_numpy(part).to(device) for part in (dataset.x_train, dataset.y_train))

    def step(images: Tensor, labels: Tensor) -> Metrics:
        paths = sandwich_paths(space, recipe.random_paths, rng, sandwich=recipe.sandwich)
        return training_step(supernet, paths, images, labels, recipe, executor)

    with side_by_side(device) as executor:
        for epoch in range(len(rows), recipe.epochs):
            metrics = _epoch(step, optimiser, x, y, recipe, epoch, generator, checkpoint)
            rows.append(metrics)
            if checkpoint is not None:
                save_training(checkpoint, identity, supernet, optimiser, generator, rng, rows)
            if progress is not None:
                progress(epoch + 1, recipe.epochs, metrics)
    supernet.eval()
    seconds = time.perf_counter() - begin
    log.info("trained the supernet of %s for %d epochs in %.1f s", space.name, len(rows), seconds)
    return TrainedSupernet(supernet, tuple(rows), seconds)


def finetune(
    space: SearchSpace,
    architecture: Architecture,
    weights: Weights,
    dataset: Dataset,
    recipe: Recipe | None = None,
    *,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> dict[str, npt.NDArray[np.float32]]:
    """Weights of one network after it was trained by itself, from inherited weights on.

    Args:
        space: The space.
        architecture: The network.
        weights: Where it starts, from `ElasticSupernet.weights` with the network's statistics.
        dataset: Only its training split is looked at.
        recipe: How; by default 10 epochs at a tenth of `Recipe`'s learning rate.
        rng: The only source of chance.
        progress: Called after every epoch.

    Raises:
        DivergenceError: The loss is not finite.
        LoweringError: The weights do not fit the network.
    """
    recipe = recipe or Recipe(epochs=10, learning_rate=Recipe.learning_rate / 10)
    module = TorchModule(space.network(architecture), weights)
    module.train()
    generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
    optimiser = _optimiser(dict(module.named_parameters()), recipe)
    x, y = torch.from_numpy(dataset.x_train), torch.from_numpy(dataset.y_train)

    def step(images: Tensor, labels: Tensor) -> Metrics:
        loss = functional.cross_entropy(
            module(images), labels, label_smoothing=recipe.label_smoothing
        )
        loss.backward()  # type: ignore[no-untyped-call]
        return {"loss": loss.item()}

    for epoch in range(recipe.epochs):
        metrics = _epoch(step, optimiser, x, y, recipe, epoch, generator, None)
        if progress is not None:
            progress(epoch + 1, recipe.epochs, metrics)
    tensors = module.tensors()
    statistics = average_statistics(
        lambda batch, record: module.plan((batch,), tensors, normalise=record), x
    )
    return module.weights() | {name: value.numpy() for name, value in statistics.items()}


def sandwich_paths(
    space: SearchSpace, random_paths: int, rng: np.random.Generator, *, sandwich: bool = True
) -> list[Architecture]:
    """Sub-nets of one step: the largest, the smallest, then uniform random ones.

    Args:
        space: The space.
        random_paths: How many random ones.
        rng: The only source of chance.
        sandwich: Without it there are only random ones.
    """
    drawn = [space.architecture(row) for row in space.sample(random_paths, rng)]
    return [space.largest(), space.smallest(), *drawn] if sandwich else drawn


def training_step(
    supernet: ElasticSupernet,
    paths: Sequence[Architecture],
    images: Tensor,
    labels: Tensor,
    recipe: Recipe,
    executor: Executor | None = None,
) -> Metrics:
    """Set the summed gradients of some sub-nets on one batch; the step is left to the caller.

    A parameter that no path uses gets a gradient of None, so that neither momentum nor weight
    decay moves it. Gradients are summed in the order of the paths: the result does not depend on
    which thread is done first.

    Args:
        supernet: The supernet.
        paths: Sub-nets; the first is the teacher where the recipe distils.
        images: `(n, c, h, w)`.
        labels: `(n,)`.
        recipe: Loss options.
        executor: Runs the sub-nets side by side.

    Returns:
        `loss` of the first path, and the mean `loss_others` of the others if there are any.
    """
    parameters = list(supernet.parameters())

    def derive(logits: Tensor, target: Tensor, smoothing: float) -> _Derived:
        loss = functional.cross_entropy(logits, target, label_smoothing=smoothing)
        return torch.autograd.grad(loss, parameters, allow_unused=True), loss.item()

    def follow(path: Architecture) -> _Derived:
        return derive(supernet(images, path), target, smoothing)

    target, smoothing = labels, recipe.label_smoothing
    first = supernet(images, paths[0])
    jobs: list[Callable[[], _Derived]] = [partial(derive, first, labels, recipe.label_smoothing)]
    if recipe.sandwich and recipe.distillation:
        target, smoothing = first.detach().softmax(1), 0.0
    jobs += [partial(follow, path) for path in paths[1:]]
    del first
    results = _run_all(jobs, executor)
    for index, parameter in enumerate(parameters):
        total: Tensor | None = None
        for gradients, _ in results:
            part = gradients[index]
            if part is not None:
                total = part if total is None else total + part
        parameter.grad = total
    losses = [loss for _, loss in results]
    metrics = {"loss": losses[0]}
    if len(losses) > 1:
        metrics["loss_others"] = sum(losses[1:]) / (len(losses) - 1)
    return metrics


def _run_all(jobs: list[Callable[[], _Derived]], executor: Executor | None) -> list[_Derived]:
    if executor is None:
        return [job() for job in jobs]
    return [future.result() for future in [executor.submit(job) for job in jobs]]


def learning_rate_at(recipe: Recipe, progress: float) -> float:
    """Learning rate after a share of all steps: a linear rise, then half a cosine down.

    Args:
        recipe: Peak and shares.
        progress: Share of all steps that were made, from 0 to 1.
    """
    if progress < recipe.warmup_share:
        return recipe.learning_rate * max(progress / recipe.warmup_share, 0.01)
    phase = (progress - recipe.warmup_share) / (1.0 - recipe.warmup_share)
    share = recipe.final_share + (1.0 - recipe.final_share) * (1.0 + math.cos(math.pi * phase)) / 2
    return recipe.learning_rate * share


def _epoch(
    step: Callable[[Tensor, Tensor], Metrics],
    optimiser: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    recipe: Recipe,
    epoch: int,
    generator: torch.Generator,
    checkpoint: Path | None,
) -> Metrics:
    """One pass over the training split; incomplete batches are left out."""
    begin = time.perf_counter()
    order = torch.randperm(len(x), generator=generator).to(x.device)
    size = min(recipe.batch_size, len(x))
    batches = torch.split(order[: len(x) // size * size], size)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    total: Metrics = {}
    for index, batch in enumerate(batches):
        rate = learning_rate_at(recipe, (epoch + index / len(batches)) / recipe.epochs)
        for group in optimiser.param_groups:
            group["lr"] = rate
        images = x[batch]
        if recipe.augmentation is not None:
            images = recipe.augmentation(images, generator)
        optimiser.zero_grad(set_to_none=True)
        metrics = step(images, y[batch])
        norm = torch.nn.utils.clip_grad_norm_(parameters, recipe.gradient_clip)
        if not (all(map(math.isfinite, metrics.values())) and bool(torch.isfinite(norm))):
            kept = "" if checkpoint is None else f"; {checkpoint} holds the epoch before"
            raise DivergenceError(
                f"training diverged in epoch {epoch + 1}, step {index + 1}: {metrics}, gradient "
                f"norm {float(norm)}; lower the learning rate of {recipe.learning_rate:g}{kept}"
            )
        optimiser.step()
        for name, value in metrics.items():
            total[name] = total.get(name, 0.0) + value / len(batches)
    seconds = time.perf_counter() - begin
    return {"epoch": epoch + 1.0, **total, "learning_rate": rate, "seconds": seconds}


def _optimiser(parameters: dict[str, torch.nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    decayed = [p for p in parameters.values() if p.ndim > 1]
    others = [p for p in parameters.values() if p.ndim <= 1]
    return torch.optim.SGD(
        [
            {"params": decayed, "weight_decay": recipe.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
    )
