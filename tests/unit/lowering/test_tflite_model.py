import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest

from hwnas.errors import LoweringError
from hwnas.graph import Graph, GraphBuilder, shape_of
from hwnas.graph.graph import IR_VERSION, OPSET_VERSION
from hwnas.lowering import random_weights, to_onnx
from hwnas.lowering.tflite_model import SIGNATURE, blocks_to_tflite, to_tflite
from hwnas.spaces import available_spaces, get_space

pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

XNNPACK = OpResolverType.AUTO
REFERENCE = OpResolverType.BUILTIN_REF
CHANNELS_LAST, CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
SMALL_IMAGES = {"proxyless-mobile": "proxyless-mobile@64"}


def single(emit, shape=(1, 6, 9, 10)):
    g = GraphBuilder("single")
    with g.scope("block"):
        y = emit(g, g.input("input", shape))
    g.output(y, "output")
    return g.build()


def weights_of(graph, seed=0):
    return random_weights(graph, np.random.default_rng(seed))


def image_for(graph, seed=1):
    shape = shape_of(graph.inputs[0])
    return 3 * np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def by_onnxruntime(graph, weights, x):
    session = ort.InferenceSession(to_onnx(graph, weights).SerializeToString())
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def by_litert(content, x, kernels=XNNPACK):
    interpreter = Interpreter(
        model_content=content, num_threads=1, experimental_op_resolver_type=kernels
    )
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    x = x.transpose(CHANNELS_LAST) if x.ndim == 4 else x
    interpreter.set_tensor(given["index"], np.ascontiguousarray(x))
    interpreter.invoke()
    y = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return y.transpose(CHANNELS_FIRST) if y.ndim == 4 else y


def assert_agree(found, wanted, tolerance=1e-4):
    assert np.abs(wanted).max() > 0
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


def tables(content):
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))


def codes(content):
    model = tables(content)
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    return [
        names[model.operatorCodes[o.opcodeIndex].builtinCode] for o in model.subgraphs[0].operators
    ]


WINDOWS = {
    f"{kind} {kernel} stride {stride}": (kind, kernel, stride)
    for kind in ("conv", "depthwise", "grouped", "dilated", "max_pool", "average_pool")
    for kernel in (1, 2, 3, 4, 5)
    for stride in (1, 2, 3)
    if not (kind == "dilated" and kernel in (1, 2, 4))
}


@pytest.mark.parametrize("kernels", [XNNPACK, REFERENCE], ids=["xnnpack", "reference"])
@pytest.mark.parametrize("sides", [(8, 8), (9, 10)], ids=str)
@pytest.mark.parametrize("name", WINDOWS)
def test_every_window_lies_where_onnx_puts_it(name, sides, kernels):
    kind, kernel, stride = WINDOWS[name]
    emit = {
        "conv": lambda g, x: g.conv(x, 8, kernel, name="conv", stride=stride, bias=True),
        "depthwise": lambda g, x: g.conv(x, 12, kernel, name="conv", stride=stride, group=6),
        "grouped": lambda g, x: g.conv(x, 6, kernel, name="conv", stride=stride, group=3),
        "dilated": lambda g, x: g.conv(x, 8, kernel, name="conv", stride=stride, dilation=2),
        "max_pool": lambda g, x: g.max_pool(x, kernel, stride=stride),
        "average_pool": lambda g, x: g.average_pool(x, kernel, stride=stride),
    }[kind]
    graph = single(emit, (1, 6, *sides))
    weights, x = weights_of(graph), image_for(graph)

    found = by_litert(to_tflite(graph, weights), x, kernels)

    assert_agree(found, by_onnxruntime(graph, weights, x), 1e-5)


OTHERS = {
    "add": lambda g, x: g.add(x, g.relu(x)),
    "batch_norm": lambda g, x: g.batch_norm(x, name="norm"),
    "channel_shuffle": lambda g, x: g.channel_shuffle(x, 3),
    "concat": lambda g, x: g.concat([x, g.relu(x), x]),
    "conv_transpose": lambda g, x: g.conv_transpose(x, 5, 2, name="enlarge"),
    "crop": lambda g, x: g.crop(x, 2),
    "flatten": lambda g, x: g.flatten(x),
    "flatten_1x1": lambda g, x: g.flatten(g.global_average_pool(x)),
    "gemm": lambda g, x: g.gemm(g.flatten(x), 7, name="linear"),
    "global_average_pool": lambda g, x: g.global_average_pool(x),
    "hard_sigmoid": lambda g, x: g.hard_sigmoid(x),
    "hard_swish": lambda g, x: g.hard_swish(x),
    "identity": lambda g, x: x,
    "mul": lambda g, x: g.mul(x, g.global_average_pool(x)),
    "relu": lambda g, x: g.relu(x),
    "relu6": lambda g, x: g.relu6(x),
    "zeros_like": lambda g, x: g.add(x, g.zeros_like(x)),
}


def test_every_operator_that_the_builder_has_is_tried():
    windows = {"conv", "max_pool", "average_pool"}
    emitting = {name for name in vars(GraphBuilder) if not name.startswith("_")}

    assert emitting - {"build", "input", "output", "scope", "weight"} == windows | (
        set(OTHERS) - {"flatten_1x1", "identity"}
    )


@pytest.mark.parametrize("name", OTHERS)
def test_every_other_operator_gives_what_onnxruntime_gives(name):
    graph = single(OTHERS[name])
    weights, x = weights_of(graph), image_for(graph)

    found = by_litert(to_tflite(graph, weights), x)

    assert_agree(found, by_onnxruntime(graph, weights, x), 1e-5)


def onnx_graph(op_type, attributes=None, shape=(2, 6), constants=(), result=None):
    """One ONNX operator that the builder does not have, or not with these attributes."""
    x = ir.Value(name="input", shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))
    given = [
        ir.Value(
            name=f"c{i}",
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
            const_value=ir.tensor(array, name=f"c{i}"),
        )
        for i, array in enumerate(constants)
    ]
    y = ir.Value(
        name="output", shape=ir.Shape(result or shape), type=ir.TensorType(ir.DataType.FLOAT)
    )
    node = ir.node(op_type, [x, *given], attributes or {}, outputs=[y], name="block/node")
    graph = ir.Graph(
        [x], [y], nodes=[node], initializers=given, opset_imports={"": OPSET_VERSION}, name="one"
    )
    return Graph(ir.Model(graph, ir_version=IR_VERSION))


def ints(*values):
    return np.array(values, dtype=np.int64)


def floats(*shape):
    return np.random.default_rng(7).standard_normal(shape, dtype=np.float32)


RARE = {
    "sigmoid": ("Sigmoid", {}, (2, 6), (), None),
    "matmul": ("MatMul", {}, (2, 6), (floats(6, 4),), (2, 4)),
    "gemm scaled": (
        "Gemm",
        {"alpha": 0.5, "beta": 2.0},
        (2, 6),
        (floats(6, 4), floats(4)),
        (2, 4),
    ),
    "gemm without bias": ("Gemm", {"transB": 1}, (2, 6), (floats(4, 6),), (2, 4)),
    "hard sigmoid": ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}, (2, 6), (), None),
    "clip": ("Clip", {}, (2, 6), (np.float32([-0.5]).reshape(()), np.float32(0.7)), None),
    "clip below": ("Clip", {}, (2, 6), (np.array(0, np.float32),), None),
    "add a vector": ("Add", {}, (1, 3, 4, 5), (floats(3, 1, 1),), None),
    "mul by an image": ("Mul", {}, (1, 3, 4, 5), (floats(1, 1, 4, 5),), None),
    "reshape an image": ("Reshape", {}, (1, 6, 4, 5), (ints(1, 12, 2, 5),), (1, 12, 2, 5)),
    "reshape from a matrix": ("Reshape", {}, (2, 60), (ints(2, 3, 4, 5),), (2, 3, 4, 5)),
    "transpose a matrix": ("Transpose", {}, (2, 6), (), (6, 2)),
    "transpose an image": ("Transpose", {"perm": [0, 3, 1, 2]}, (1, 6, 4, 5), (), (1, 5, 6, 4)),
    "reshape to a matrix": ("Reshape", {}, (1, 6, 4, 5), (ints(2, 60),), (2, 60)),
    "slice channels": ("Slice", {}, (1, 6, 4, 5), (ints(-4), ints(5), ints(1)), (1, 3, 4, 5)),
    "norm of a matrix": (
        "BatchNormalization",
        {},
        (2, 6),
        (floats(6), floats(6), floats(6), np.abs(floats(6))),
        None,
    ),
    "average with padding": (
        "AveragePool",
        {
            "kernel_shape": [3, 3],
            "pads": [1, 1, 1, 1],
            "strides": [2, 2],
            "count_include_pad": 1,
        },
        (1, 3, 8, 8),
        (),
        (1, 3, 4, 4),
    ),
    "conv with uneven pads": (
        "Conv",
        {"kernel_shape": [3, 3], "pads": [0, 1, 2, 1]},
        (1, 3, 8, 8),
        (floats(5, 3, 3, 3),),
        (1, 5, 8, 8),
    ),
}


@pytest.mark.parametrize("name", RARE)
def test_operators_of_files_from_elsewhere_give_what_onnxruntime_gives(name):
    op_type, attributes, shape, constants, result = RARE[name]
    graph = onnx_graph(op_type, attributes, shape, constants, result)
    x = image_for(graph)

    found = by_litert(to_tflite(graph, {}), x)

    assert_agree(found, by_onnxruntime(graph, {}, x), 1e-5)


REFUSED = {
    "an unknown operator": (("Erf",), "operator 'Erf' of node 'block/node' .* hwnas knows Add,"),
    "a computed matrix": (
        ("Gemm", {"transA": 1}, (6, 2), (floats(6, 4),), (2, 4)),
        "first operand is transposed",
    ),
    "a convolution of sequences": (
        ("Conv", {"kernel_shape": [3]}, (1, 3, 8), (floats(5, 3, 3),), (1, 5, 6)),
        "convolves over 1 axes",
    ),
    "automatic padding": (
        (
            "Conv",
            {"kernel_shape": [3, 3], "auto_pad": "SAME_UPPER"},
            (1, 3, 8, 8),
            (floats(5, 3, 3, 3),),
            (1, 5, 8, 8),
        ),
        "give explicit pads",
    ),
    "a transposed convolution with pads": (
        (
            "ConvTranspose",
            {"strides": [2, 2], "pads": [1, 1, 1, 1]},
            (1, 3, 8, 8),
            (floats(3, 5, 4, 4),),
            (1, 5, 16, 16),
        ),
        "without pads",
    ),
    "a pooling that rounds up": (
        (
            "MaxPool",
            {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
            (1, 3, 7, 7),
            (),
            (1, 3, 4, 4),
        ),
        "round down",
    ),
    "a slice with steps": (
        ("Slice", {}, (2, 6), (ints(0), ints(6), ints(1), ints(2)), (2, 3)),
        r"steps are \[2\]",
    ),
    "a norm in training": (
        (
            "BatchNormalization",
            {"training_mode": 1},
            (2, 6),
            (floats(6), floats(6), floats(6), np.abs(floats(6))),
        ),
        "only inference form",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_convert_is_refused_by_the_name_of_its_node(case):
    arguments, message = REFUSED[case]

    with pytest.raises(LoweringError, match=f"(?s){message}"):
        to_tflite(onnx_graph(*arguments), {})


def test_a_missing_or_misshapen_weight_is_named():
    graph = single(lambda g, x: g.conv(x, 8, 3, name="conv"))

    with pytest.raises(LoweringError, match="'block/conv/weight' of 'single' has no value"):
        to_tflite(graph, {})
    with pytest.raises(LoweringError, match=r"is \(8, 3, 3\), the graph wants \(8, 6, 3, 3\)"):
        to_tflite(graph, {"block/conv/weight": floats(8, 3, 3)})


def quiet_weights(graph, rng):
    """Weights under which activations do not grow: no space's network is chaotic then."""
    weights = random_weights(graph, rng)
    return {k: v * np.float32(0.7) if v.ndim == 4 else v for k, v in weights.items()}


@pytest.mark.parametrize("name", available_spaces())
def test_the_networks_of_every_space_give_what_onnxruntime_gives(name):
    space, rng = get_space(SMALL_IMAGES.get(name, name)), np.random.default_rng(3)
    for architecture in (space.smallest(), space.architecture(space.sample(1, rng)[0])):
        graph = space.network(architecture)
        weights, x = quiet_weights(graph, rng), image_for(graph)

        found = by_litert(to_tflite(graph, weights), x)

        assert_agree(found, by_onnxruntime(graph, weights, x))


def test_the_same_network_gives_the_same_bytes_and_other_weights_give_others():
    space = get_space("mbconv-digits@16")
    first, second = space.network(space.largest()), space.network(space.largest())

    content = to_tflite(first, weights_of(first))

    assert content == to_tflite(second, weights_of(second))
    assert content != to_tflite(first, weights_of(first, seed=1))


def test_the_file_is_channels_last_and_aligned_and_its_signature_has_the_names_of_the_graph():
    space = get_space("proxyless-mobile@64")
    graph = space.network(space.smallest())

    content = to_tflite(graph, weights_of(graph))

    interpreter = Interpreter(model_content=content)
    assert interpreter.get_signature_list() == {
        SIGNATURE: {"inputs": ["input"], "outputs": ["output"]}
    }
    assert interpreter.get_input_details()[0]["shape"].tolist() == [1, 64, 64, 3]
    assert content[4:8] == b"TFL3"
    model = schema.Model.GetRootAs(content)
    whole = np.frombuffer(content, np.uint8)
    starts = []
    for i in range(model.BuffersLength()):
        data = model.Buffers(i).DataAsNumpy()
        if isinstance(data, np.ndarray):
            starts.append(data.ctypes.data - whole.ctypes.data)
    assert len(starts) > 20
    assert not any(start % 16 for start in starts)


def test_batch_norm_and_activations_are_fused_and_nothing_is_transposed():
    space = get_space("ofa-mbv3")
    graph = space.network(space.smallest())

    found = codes(to_tflite(graph, weights_of(graph)))

    convolutions = [node for node in graph.nodes if node.op_type == "Conv"]
    assert sum(code in ("CONV_2D", "DEPTHWISE_CONV_2D") for code in found) == len(convolutions)
    assert not {"TRANSPOSE", "RELU", "RELU6"} & set(found)


def test_an_activation_is_not_fused_across_blocks_nor_when_its_input_is_read_elsewhere():
    g = GraphBuilder("borders")
    x = g.input("input", (1, 4, 8, 8))
    with g.scope("a"):
        x = g.conv(x, 4, 3, name="conv", bias=True)
    with g.scope("b"):
        x = g.conv(g.relu(x), 4, 3, name="conv", bias=True)
        x = g.add(x, g.relu(x))
    g.output(x, "output")
    graph = g.build()

    content = to_tflite(graph, weights_of(graph))

    assert codes(content) == ["CONV_2D", "RELU", "CONV_2D", "RELU", "ADD"]
    x = image_for(graph)
    assert_agree(by_litert(content, x), by_onnxruntime(graph, weights_of(graph), x), 1e-5)


@pytest.mark.parametrize("name", ["mbconv-digits@16", "cells-digits"])
def test_the_pieces_hold_every_operator_of_the_network_once(name):
    space = get_space(name)
    graph = space.network(space.architecture(space.sample(1, np.random.default_rng(0))[0]))
    weights = weights_of(graph)

    pieces = blocks_to_tflite(graph, weights, [block.name for block in space.blocks])

    cut = [code for content in pieces.values() for code in codes(content)]
    assert sorted(cut) == sorted(codes(to_tflite(graph, weights)))
    assert blocks_to_tflite(graph, weights, ["no such block"]) == {}
