import numpy as np
import pytest

from hwnas.errors import LoweringError
from hwnas.fpga import reference_outputs
from hwnas.fpga.quantisation import (
    check_on_array,
    integer_tensors,
    quantise_network,
    quantised_convolutions,
)
from hwnas.fpga.simulator import ArraySimulator, simulator_kinds
from hwnas.lowering import random_weights, to_onnx
from hwnas.lowering.fold_batch_norm import fold_batch_norm


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).standard_normal((4, 1, 1, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def quantised(space, images):
    graph = space.network(space.largest())
    weights = random_weights(graph, np.random.default_rng(0))
    return quantise_network(to_onnx(*fold_batch_norm(graph, weights)), images)


def test_the_numpy_model_gives_onnxruntimes_integers_in_every_convolution(quantised, images):
    convolutions = quantised_convolutions(quantised)
    names = {name for each in convolutions for name in (each.input, each.output)}
    tensors = integer_tensors(quantised, images[0], sorted(names))

    assert {each.layer.weights.shape[0] for each in convolutions} > {1}  # depthwise too
    for each in convolutions:
        outputs = reference_outputs(each.patches(tensors[each.input]), each.layer)
        wanted = np.moveaxis(tensors[each.output], 1, -1).reshape(outputs.shape)
        assert np.array_equal(outputs, wanted), each.name
        assert len(np.unique(outputs)) > 1


@pytest.mark.skipif(not simulator_kinds(), reason="needs the extra fpga or Verilator, and C++")
def test_first_layers_of_a_network_are_onnxruntimes_on_the_simulated_array(quantised, images):
    with ArraySimulator(3) as simulator:
        checked = check_on_array(quantised, images[0], simulator, 4)

    assert len(checked) == 4
    for each in checked:
        assert (each.differing_from_runtime, each.differing_from_reference) == (0, 0)
        assert each.cycles == each.predicted_cycles


def test_networks_that_cannot_be_quantised_are_refused(space, images):
    graph = space.network(space.smallest())

    with pytest.raises(LoweringError, match="one input and some images are needed"):
        quantise_network(to_onnx(graph), images[:0])
