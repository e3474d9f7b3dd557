"""The loop: batches, parts of batches, clipping, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from hwnas.errors import DataError
from hwnas.training.loop import DivergenceError, TrainingLoop, make_optimiser
from hwnas.training.options import TrainingOptions

PLAIN = TrainingOptions(epochs=1, batch_size=32, learning_rate=0.1, augmentation=None)


def loop_of(digits, **changes):
    return TrainingLoop(digits, replace(PLAIN, **changes), torch.Generator().manual_seed(0))


def linear(digits):
    generator = torch.Generator().manual_seed(1)
    module = torch.nn.Linear(int(np.prod(digits.image_shape)), digits.classes)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, 0.01, generator=generator)
    return module


def run(digits, module, seen=None, **changes):
    """One epoch in order; the gradient is that of a linear classifier without batch norm."""
    loop = loop_of(digits, **changes)

    def step(batch):
        if seen is not None:
            seen.append(batch)
        loss = functional.cross_entropy(module(batch.images.flatten(1)), batch.labels)
        for parameter, gradient in zip(
            module.parameters(),
            torch.autograd.grad(loss, list(module.parameters())),
            strict=True,
        ):
            parameter.grad = gradient
        return {"loss": loss.item()}

    optimiser = make_optimiser(list(module.parameters()), loop.options)
    order = torch.arange(len(digits.x_train))
    return loop.epoch(lambda _: step, optimiser, order, 0)


@pytest.mark.parametrize("parts", [2, 3])
def test_accumulated_gradients_are_the_mean_over_the_batch(digits, parts):
    whole, cut = linear(digits), linear(digits)
    seen = []

    expected = run(digits, whole)
    found = run(digits, cut, seen, accumulate=parts)

    assert {len(batch.labels) for batch in seen[:parts]} == ({16} if parts == 2 else {11, 10})
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    torch.testing.assert_close(cut.weight, whole.weight, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(cut.bias, whole.bias, rtol=1e-3, atol=1e-5)


def test_parts_of_a_batch_are_drawn_once_and_hold_all_of_it(digits):
    loop = loop_of(digits, accumulate=4)
    drawn, seen = [], []
    module = linear(digits)

    def begin(batch):
        drawn.append(batch.indices)

        def step(part):
            seen.append(part.indices)
            torch.testing.assert_close(part.images, torch.from_numpy(digits.x_train)[part.indices])
            return {"loss": 0.0}

        return step

    order = torch.randperm(256, generator=torch.Generator().manual_seed(0))
    loop.epoch(begin, make_optimiser(list(module.parameters()), PLAIN), order, 0)

    assert len(drawn) == 256 // 32
    assert len(seen) == 4 * len(drawn)
    assert torch.equal(torch.cat(seen), order)


def test_an_incomplete_last_batch_is_left_out_and_progress_runs_to_one(digits):
    loop = loop_of(digits, batch_size=100, epochs=2)

    batches = [b for epoch in (0, 1) for b in loop.batches(torch.arange(256), epoch)]

    assert [len(b.labels) for b in batches] == [100] * 4
    assert [b.progress for b in batches] == [0, 0.25, 0.5, 0.75]


def test_the_gradient_is_clipped_by_norm_and_by_value(digits):
    for options, measure in (
        ({"gradient_clip": 1e-3}, lambda change: change.norm()),
        ({"gradient_clip_value": 1e-3}, lambda change: change.abs().max()),
    ):
        module = linear(digits)
        before = torch.nn.utils.parameters_to_vector(module.parameters()).detach()

        run(
            digits,
            module,
            batch_size=256,
            momentum=0.0,
            weight_decay=0.0,
            warmup_share=0.0,
            schedule="constant",
            **options,
        )

        after = torch.nn.utils.parameters_to_vector(module.parameters()).detach()
        assert float(measure(after - before)) == pytest.approx(0.1 * 1e-3, rel=1e-2)


def test_a_given_schedule_replaces_that_of_the_options(digits):
    loop = loop_of(digits)
    module = linear(digits)
    rates = []
    optimiser = make_optimiser(list(module.parameters()), PLAIN)

    def begin(batch):
        rates.append(optimiser.param_groups[1]["lr"])
        return lambda part: {"loss": 0.0}

    metrics = loop.epoch(begin, optimiser, torch.arange(256), 0, rate_at=lambda p: 1.0 - p)

    np.testing.assert_allclose(rates, 1.0 - np.arange(8) / 8)
    assert metrics["learning_rate"] == rates[-1]


def test_only_kernels_and_matrices_decay(digits):
    module = linear(digits)
    first, second = make_optimiser(list(module.parameters()), PLAIN).param_groups

    assert (first["weight_decay"], second["weight_decay"]) == (PLAIN.weight_decay, 0.0)
    assert first["params"][0] is module.weight
    assert second["params"][0] is module.bias


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_training_before_the_weights_change(digits, bad):
    loop = loop_of(digits)
    module = linear(digits)
    before = module.weight.detach().clone()

    def step(batch):
        module.weight.grad = torch.ones_like(module.weight)
        return {"loss": bad}

    with pytest.raises(DivergenceError, match=r"epoch 1, step 1.*lower the learning rate of 0\.1"):
        loop.epoch(
            lambda _: step,
            make_optimiser(list(module.parameters()), PLAIN),
            torch.arange(256),
            0,
        )

    assert torch.equal(module.weight, before)


def test_a_batch_larger_than_the_data_is_refused(digits):
    with pytest.raises(DataError, match=r"batch of 257 images.*which has 256.*smaller batch"):
        loop_of(digits, batch_size=257)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_refused_on_the_cpu(digits, precision):
    with pytest.raises(DataError, match=f"precision {precision} is for CUDA; on cpu"):
        loop_of(digits, precision=precision)
