import numpy as np
import pytest

from hwnas.fpga import plan_layers, reference_outputs
from hwnas.fpga.arithmetic import Requantisation, parameter_words, requantise
from hwnas.fpga.drawn_layers import SHAPE_CLASSES, draw_layer, draw_shape
from hwnas.fpga.streams import cut_layer, join_values


def fed(job, scales, side):
    """What an array would give for these streams, pass by pass."""
    pixels = np.broadcast_to(job.pixels, (job.columns, *job.pixels.shape[1:])).astype(np.float64)
    sums = np.einsum("crkdi,ckdj->crij", pixels, job.weights.astype(np.float64)).astype(np.int64)
    values = np.zeros(sums.shape, np.int8)
    for column, words in enumerate(job.parameters):
        bias = (words & np.uint64(0xFFFFFFFF)).astype(np.uint32).astype(np.int32).astype(np.int64)
        scale = np.array([scales.get(int(word), 1.0) for word in words], np.float32)
        how = Requantisation(bias, scale, job.zero_point, job.low, job.high)
        values[column] = requantise(sums[column], how)
    return values


@pytest.mark.parametrize("side", [2, 5, 8])
@pytest.mark.parametrize("kind", SHAPE_CLASSES)
def test_a_layer_cut_and_joined_again_is_the_layer(kind, side):
    rng = np.random.default_rng(side)
    patches, layer = draw_layer(draw_shape(kind, rng), rng)
    words = parameter_words(layer.how).tolist()

    job = cut_layer(patches, layer, side)
    values = fed(job, dict(zip(words, layer.how.scale, strict=True)), side)

    assert np.array_equal(join_values(values, patches, layer), reference_outputs(patches, layer))


@pytest.mark.parametrize("kind", SHAPE_CLASSES)
def test_streams_are_as_long_as_the_plan_says(kind):
    rng = np.random.default_rng(1)
    shape = draw_shape(kind, rng)
    patches, layer = draw_layer(shape, rng)
    plan = plan_layers([shape], [4])

    job = cut_layer(patches, layer, 4)

    assert (job.side, job.columns, job.rows) == (4, plan.columns[0, 0], plan.rows[0, 0])
    assert job.weights.shape[1:3] == (plan.chunks[0, 0], plan.depth[0, 0])
    assert job.pixels.shape[2:] == job.weights.shape[1:]
    assert job.cycles == plan.cycles[0, 0]
