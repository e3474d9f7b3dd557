from fractions import Fraction

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from hwnas.errors import LoweringError
from hwnas.fpga import Requantisation, parameter_words, requantise


def how(scale, bias=0, zero_point=0, **bounds):
    scales = np.atleast_1d(np.asarray(scale, np.float32))
    biases = np.broadcast_to(np.asarray(bias, np.int64), scales.shape)
    return Requantisation(biases, scales, zero_point, **bounds)


def runtime_outputs(sums, scale, zero_point):
    """ONNX Runtime's own, of a 1x1 convolution whose bias is the sum."""
    n = len(sums)
    node = helper.make_node(
        "QLinearConv", ["x", "one", "zero", "w", "ws", "wz", "one", "yz", "b"], ["y"]
    )
    constants = {
        "one": np.float32(1.0),
        "zero": np.int8(0),
        "w": np.zeros((n, 1, 1, 1), np.int8),
        "ws": np.asarray(scale, np.float32),
        "wz": np.zeros(n, np.int8),
        "yz": np.int8(zero_point),
        "b": np.asarray(sums, np.int32),
    }
    graph = helper.make_graph(
        [node],
        "requantise",
        [helper.make_tensor_value_info("x", TensorProto.INT8, (1, 1, 1, 1))],
        [helper.make_tensor_value_info("y", TensorProto.INT8, (1, n, 1, 1))],
        [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": np.zeros((1, 1, 1, 1), np.int8)})[0].reshape(-1)


@pytest.mark.parametrize("seed", range(3))
def test_outputs_are_those_of_onnxruntime(seed):
    rng = np.random.default_rng(seed)
    n = 4096
    scale = np.exp(rng.uniform(np.log(1e-9), np.log(1.0), n)).astype(np.float32)
    sums = np.clip(rng.uniform(-200, 200, n) / scale, -(2**31) + 1, 2**31 - 1).astype(np.int64)
    zero_point = int(rng.integers(-128, 128))

    found = requantise(sums, how(scale, zero_point=zero_point))

    assert np.array_equal(found, runtime_outputs(sums, scale, zero_point))


@pytest.mark.parametrize(("total", "output"), [(1, 0), (3, 2), (5, 2), (-1, 0), (-3, -2), (7, 4)])
def test_halves_go_to_the_even_neighbour(total, output):
    assert requantise(np.array([[total]]), how(0.5)).item() == output


def test_bounds_hold_and_a_relu_is_one():
    sums = np.array([[-1000], [-5], [5], [1000]])

    plain = requantise(sums, how(1.0, zero_point=3))
    relu = requantise(sums, how(1.0, zero_point=3, low=3))

    assert plain.ravel().tolist() == [-128, -2, 8, 127]
    assert relu.ravel().tolist() == [3, 3, 8, 127]


def test_parameter_words_hold_scale_and_bias_exactly():
    scale = np.array([1.0, 3e-7, 0.1, 2.0**-40], np.float32)
    bias = np.array([0, -1, 2**31 - 1, -(2**31) + 1])

    words = [int(word) for word in parameter_words(how(scale, bias))]

    for word, value, offset in zip(words, scale, bias, strict=True):
        significand = word >> 32 & 0xFFFFFF
        shift = (word >> 56) - 256 * (word >> 63)
        assert significand >> 23 == 1
        assert significand * Fraction(2) ** (-8 - shift) == Fraction(float(value))
        assert (word & 0xFFFFFFFF) == offset % 2**32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 0.0}, "a scale is not within"),
        ({"scale": float("nan")}, "a scale is not within"),
        ({"scale": 1e30}, "a scale is not within"),
        ({"scale": 1.0, "bias": 2**31}, "bias is beyond int32"),
        ({"scale": 1.0, "zero_point": 128}, "zero point 128"),
        ({"scale": 1.0, "low": 5, "high": 4}, "bounds 5 to 4"),
    ],
)
def test_numbers_that_the_array_cannot_hold_are_refused(arguments, message):
    with pytest.raises(LoweringError, match=message):
        how(**arguments)
