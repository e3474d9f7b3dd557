import numpy as np
import pytest
import torch

from hwnas.errors import LoweringError
from hwnas.fpga import QuantisedLayer, Requantisation, convolution_patches, reference_outputs


def layer(groups, depth, channels, rng):
    weights = rng.integers(-127, 128, (groups, depth, channels), dtype=np.int8)
    count = groups * channels
    return QuantisedLayer(
        weights, Requantisation(np.zeros(count, np.int64), np.full(count, 1e-3, np.float32))
    )


@pytest.mark.parametrize(
    ("groups", "kernel", "strides", "pads", "dilations"),
    [
        (1, (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
        (1, (1, 1), (2, 2), (0, 0, 0, 0), (1, 1)),
        (6, (5, 3), (2, 1), (2, 1, 0, 3), (1, 1)),
        (2, (3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
    ],
)
def test_patches_are_what_a_convolution_sees(groups, kernel, strides, pads, dilations):
    rng = np.random.default_rng(0)
    images = rng.integers(-128, 128, (2, 6, 9, 8), dtype=np.int8)
    weights = rng.integers(-127, 128, (12, 6 // groups, *kernel), dtype=np.int8)
    zero_point = 7

    patches = convolution_patches(
        images,
        kernel,
        strides=strides,
        pads=pads,
        dilations=dilations,
        groups=groups,
        zero_point=zero_point,
    )

    flat = weights.reshape(groups, 12 // groups, -1).astype(np.float64)
    sums = (patches.astype(np.float64) - zero_point) @ flat.transpose(0, 2, 1)
    found = np.moveaxis(sums, 0, 1).reshape(-1, 12)
    top, left, bottom, right = pads
    x = torch.nn.functional.pad(
        torch.from_numpy(images).double() - zero_point, (left, right, top, bottom)
    )
    wanted = torch.nn.functional.conv2d(
        x, torch.from_numpy(weights).double(), None, strides, 0, dilations, groups
    )
    assert np.array_equal(found, wanted.permute(0, 2, 3, 1).reshape(-1, 12).numpy())


def test_outputs_are_requantised_sums():
    rng = np.random.default_rng(0)
    quantised = layer(2, 30, 3, rng)
    patches = rng.integers(-128, 128, (2, 5, 30), dtype=np.int8)

    outputs = reference_outputs(patches, quantised)

    sums = patches[1].astype(np.int64) @ quantised.weights[1].astype(np.int64)
    assert outputs.shape == (5, 6)
    scaled = np.rint(sums.astype(np.float32) * np.float32(1e-3))
    assert np.array_equal(outputs[:, 3:], np.clip(scaled, -128, 127))


def test_shapes_that_do_not_fit_are_refused():
    rng = np.random.default_rng(0)
    quantised = layer(2, 30, 3, rng)

    with pytest.raises(LoweringError, match="2 groups of depth 30"):
        reference_outputs(np.zeros((1, 5, 30), np.int8), quantised)
    with pytest.raises(LoweringError, match="6 scales for 1 groups of 3 channels"):
        QuantisedLayer(quantised.weights[:1], quantised.how)
    with pytest.raises(LoweringError, match="weights are float32"):
        QuantisedLayer(quantised.weights.astype(np.float32), quantised.how)
