"""Losses and errors of tasks, against their definitions."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from hwnas.datasets.dataset import TASK_NAMES
from hwnas.datasets.task import TASKS, get_task
from hwnas.errors import DataError


def masks(n=3, side=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, 1, side, side, generator=generator)
    truth = (torch.rand(n, 1, side, side, generator=generator) > 0.6).to(torch.uint8)
    return logits, truth


def test_data_sets_know_the_tasks_by_name():
    assert set(TASKS) == set(TASK_NAMES)
    assert all(get_task(name).name == name for name in TASK_NAMES)
    with pytest.raises(DataError, match=r"'counting'; available: classification, segmentation"):
        get_task("counting")


def test_the_error_of_a_classifier_is_the_share_of_wrong_images():
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0], [0.0, 3.0]])

    assert get_task("classification").error(logits, torch.tensor([0, 0, 0, 1])) == 0.25


def test_the_loss_of_a_classifier_is_smoothed_cross_entropy():
    logits, labels = (
        torch.randn(5, 4, generator=torch.Generator().manual_seed(0)),
        torch.arange(5) % 4,
    )

    found = get_task("classification").loss(logits, labels, 0.1)

    torch.testing.assert_close(
        found, functional.cross_entropy(logits, labels, label_smoothing=0.1)
    )


def test_the_error_of_masks_is_one_minus_the_union_of_all_images_together():
    logits, truth = masks()
    found, wanted = logits.numpy() > 0, truth.numpy() > 0

    error = get_task("segmentation").error(logits, truth)

    assert error == pytest.approx(1 - (found & wanted).sum() / (found | wanted).sum())
    each = [
        get_task("segmentation").error(a[None], b[None])
        for a, b in zip(logits, truth, strict=True)
    ]
    assert error != pytest.approx(np.mean(each))


@pytest.mark.parametrize(
    ("found", "wanted", "error"), [(0, 0, 0.0), (1, 1, 0.0), (1, 0, 1.0), (0, 1, 1.0)]
)
def test_masks_that_are_all_or_nothing_have_the_error_of_the_definition(found, wanted, error):
    logits = torch.full((2, 1, 4, 4), 2.0 * found - 1.0)

    assert get_task("segmentation").error(logits, torch.full_like(logits, wanted).byte()) == error


def test_the_loss_of_masks_is_cross_entropy_and_dice():
    logits, truth = masks()
    p, y = 1 / (1 + np.exp(-logits.numpy())), truth.numpy().astype(np.float64)

    plain, smooth = (get_task("segmentation").loss(logits, truth, s).item() for s in (0.0, 0.2))

    dice = (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
    for loss, target in ((plain, y), (smooth, 0.8 * y + 0.1)):
        entropy = -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean()
        assert loss == pytest.approx(entropy + 1 - dice, rel=1e-5)


def test_a_batch_without_foreground_has_a_finite_loss_with_a_gradient():
    logits = torch.full((1, 1, 4, 4), 3.0, requires_grad=True)

    get_task("segmentation").loss(logits, torch.zeros(1, 1, 4, 4, dtype=torch.uint8)).backward()

    assert (logits.grad > 0).all()


@pytest.mark.parametrize("name", TASK_NAMES)
def test_a_student_like_its_teacher_is_left_with_the_entropy_of_the_teacher(name):
    teacher = masks()[0] if name == "segmentation" else torch.tensor([[1.0, -2.0, 0.5]])
    task = get_task(name)

    same = task.distillation(teacher, teacher).item()
    other = task.distillation(-teacher, teacher).item()

    assert 0.0 < same < other
    student = teacher.clone().requires_grad_()
    task.distillation(student, teacher).backward()
    assert student.grad.abs().max() < 1e-6


def test_the_cross_entropy_of_undecided_masks_is_one_bit():
    logits, truth = torch.zeros(2, 1, 3, 3), torch.ones(2, 1, 3, 3, dtype=torch.uint8)

    assert get_task("segmentation").cross_entropy(logits, truth).item() == pytest.approx(
        math.log(2)
    )
