"""What networks are trained to tell from images, and how well they tell it.

A task is named by the data set. It says what loss trains a network, what its error is (a fraction
from 0 to 1, lower is better), and what one minus that error is called.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from hwnas.errors import DataError

__all__ = ["TASKS", "Classification", "Segmentation", "Task", "get_task"]

_DICE_SMOOTHING = 1.0  # pixels; a batch without foreground has a loss too


@dataclass(frozen=True)
class Task:
    """The contract, and what is the same for all tasks."""

    name: ClassVar[str]
    """As in `Dataset.task`."""
    score: ClassVar[str]
    """What one minus the error is called."""
    meaning: ClassVar[str]
    """What the score is of which images; `{which}` stands for them."""

    def loss(self, outputs: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """What training makes small, a scalar.

        Args:
            outputs: Of a network.
            labels: Of the same images.
            label_smoothing: Mass that the target gives to all classes alike.
        """
        raise NotImplementedError

    def distillation(self, outputs: Tensor, teacher: Tensor) -> Tensor:
        """Cross-entropy with what a teacher holds likely, a scalar in nats.

        Args:
            outputs: Of the student.
            teacher: Outputs of the teacher; they get no gradient.
        """
        raise NotImplementedError

    def cross_entropy(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy in nats, a scalar: orders networks of one error."""
        raise NotImplementedError

    def error(self, outputs: Tensor, labels: Tensor) -> float:
        """One minus the score over all images together, from 0 to 1.

        Args:
            outputs: Of a network, for a whole split.
            labels: Of the split.
        """
        raise NotImplementedError


class Classification(Task):
    """One class an image: outputs `(n, classes)`, labels `(n,)`."""

    name = "classification"
    score = "accuracy"
    meaning = "Share of {which} classified rightly"

    def loss(self, outputs: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Mean cross-entropy."""
        return functional.cross_entropy(outputs, labels, label_smoothing=label_smoothing)

    def distillation(self, outputs: Tensor, teacher: Tensor) -> Tensor:
        """Mean cross-entropy with the teacher's probabilities."""
        return functional.cross_entropy(outputs, teacher.detach().softmax(1))

    def cross_entropy(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Mean over the images."""
        return functional.cross_entropy(outputs, labels)

    def error(self, outputs: Tensor, labels: Tensor) -> float:
        """Share of the images whose largest logit is not that of their class."""
        return (outputs.argmax(1) != labels).double().mean().item()


class Segmentation(Task):
    """Foreground or not, pixel by pixel: outputs and labels `(n, 1, h, w)`, labels 0 or 1.

    The loss is mean binary cross-entropy plus one minus the soft Dice coefficient of the batch
    (Milletari et al., V-Net, 3DV 2016, section 3; without squares in the denominator)::

        1 - (2 sum p y + 1) / (sum p + sum y + 1)

    The error is one minus the intersection over union (Jaccard index) of the foreground, pixels of
    all images counted together; where neither has foreground it is 0.
    """

    name = "segmentation"
    score = "IoU"
    meaning = "Intersection over union of the foreground, all pixels of {which} together"

    def loss(self, outputs: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Cross-entropy and Dice; smoothing moves the targets of the cross-entropy alone."""
        truth = labels.to(outputs.dtype)
        target = truth * (1.0 - label_smoothing) + label_smoothing / 2.0
        entropy = functional.binary_cross_entropy_with_logits(outputs, target)
        likely = outputs.sigmoid()
        common = 2.0 * (likely * truth).sum() + _DICE_SMOOTHING
        return entropy + 1.0 - common / (likely.sum() + truth.sum() + _DICE_SMOOTHING)

    def distillation(self, outputs: Tensor, teacher: Tensor) -> Tensor:
        """Mean binary cross-entropy with the teacher's probabilities."""
        likely = teacher.detach().sigmoid()
        return functional.binary_cross_entropy_with_logits(outputs, likely)

    def cross_entropy(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Mean over the pixels."""
        return functional.binary_cross_entropy_with_logits(outputs, labels.to(outputs.dtype))

    def error(self, outputs: Tensor, labels: Tensor) -> float:
        """One minus intersection over union, a pixel being foreground from a logit of 0 on."""
        found, truth = outputs >= 0.0, labels > 0
        union = torch.count_nonzero(found | truth).item()
        return 1.0 - torch.count_nonzero(found & truth).item() / union if union else 0.0


TASKS: dict[str, Task] = {task.name: task for task in (Classification(), Segmentation())}


def get_task(name: str) -> Task:
    """The task of that name.

    Raises:
        DataError: There is none.
    """
    if name not in TASKS:
        raise DataError(f"unknown task {name!r}; available: {', '.join(sorted(TASKS))}")
    return TASKS[name]
