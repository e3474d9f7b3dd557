"""Cut a graph that ONNX Runtime has optimised at the borders of the network's blocks.

The optimiser keeps an operator's name as the stem of the fused operator's name, so `stage1.2/conv`
ends up in a node that still starts with `stage1.2/`. Layout changes that it inserts have names of
their own: one that writes a value of a block belongs to that block, any other to its first reader.

Two things happen only where a value has several readers. Equal operators on it become one, under
the name of any of them: the earliest of the blocks that use it owns it, as if it ran first. And
activations that open several blocks are merged and then fused into the convolution that writes the
value, which takes on their name: `name_by_block` gives them to the writer beforehand.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence

import onnx

from hwnas.graph.split import block_of

__all__ = ["cut_blocks", "name_by_block"]

_FUSED = {"Clip", "HardSigmoid", "LeakyRelu", "Relu", "Sigmoid", "Tanh"}
"""Activations that ONNX Runtime fuses into a convolution."""


def name_by_block(graph: onnx.GraphProto) -> None:
    """Change names so that every operator of the optimised graph shows whose it is.

    Fused operators are named by results: each result of the network is called after the operator
    that writes it. An activation of a value of another block, and what it writes, are called after
    the other block, unless its own block consists of nothing else.
    """
    blocks = {name: block_of(n.name) for n in graph.node for name in n.output}
    opening = [
        node
        for node in graph.node
        if node.op_type in _FUSED
        and blocks.get(node.input[0], "") not in ("", block_of(node.name))
    ]
    left = Counter(block_of(node.name) for node in graph.node)
    left.subtract(block_of(node.name) for node in opening)
    results = {value.name for value in graph.output}
    new = {name: f"{n.name}/{name}" for n in graph.node for name in n.output if name in results}
    for node in opening:
        if left[block_of(node.name)] and node.output[0] not in results:
            node.name = f"{blocks[node.input[0]]}/{node.name}"
            new[node.output[0]] = node.name
    for node in graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for value in graph.output:
        value.name = new.get(value.name, value.name)


def cut_blocks(
    model: onnx.ModelProto,
    blocks: Collection[str],
    order: Sequence[str] = (),
    known: Iterable[onnx.ValueInfoProto] = (),
) -> tuple[onnx.ModelProto, dict[str, onnx.ModelProto]]:
    """Cut a model.

    Args:
        model: An optimised model.
        blocks: Names of the blocks to cut out.
        order: All blocks in topological order. Without it, operators that blocks share stay with
            the block that they are named after.
        known: Types and shapes of border tensors; others are float32 of any shape.

    Returns:
        The whole model with every border tensor as an output, and one model per wanted block that
        has operators of its own and border tensors on either side. With `order`, a piece reads
        only what earlier blocks write.
    """
    graph = model.graph
    owners = _owners(graph, order)
    made_by = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    results = {value.name for value in graph.output}
    declared = (*known, *graph.input, *graph.output)
    typed: dict[str, onnx.ValueInfoProto] = {value.name: value for value in declared}

    entering: dict[str, dict[str, None]] = defaultdict(dict)
    leaving: dict[str, dict[str, None]] = defaultdict(dict)
    for index, node in enumerate(graph.node):
        for name in node.input:
            if not name or name in weights:
                continue
            producer = owners[made_by[name]] if name in made_by else ""
            if producer != owners[index]:
                entering[owners[index]][name] = None
                leaving[producer][name] = None
        for name in node.output:
            if name in results:
                leaving[owners[index]][name] = None

    def value(name: str) -> onnx.ValueInfoProto:
        known = typed.get(name)
        if known is not None:
            return known
        # The shape of a blocked layout is not written down; the runtime finds it when it runs.
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)

    pieces = {}
    for block in blocks:
        inside = [node for node, owner in zip(graph.node, owners, strict=True) if owner == block]
        if not inside or not entering[block] or not leaving[block]:
            continue
        used = dict.fromkeys(n for node in inside for n in node.input if n in weights)
        pieces[block] = _model(
            model,
            block,
            inside,
            [value(n) for n in entering[block]],
            [value(n) for n in leaving[block]],
            [weights[n] for n in used],
        )
    borders = dict.fromkeys(n for names in leaving.values() for n in names if n in made_by)
    whole = _model(
        model,
        "borders",
        graph.node,
        graph.input,
        [value(n) for n in borders],
        graph.initializer,
    )
    return whole, pieces


def _owners(graph: onnx.GraphProto, order: Sequence[str]) -> list[str]:
    """Block of every operator, by name, else by what it writes, else by who reads it."""
    position = {block: i for i, block in enumerate(order)}
    readers: dict[str, list[int]] = defaultdict(list)
    for index, node in enumerate(graph.node):
        for name in node.input:
            readers[name].append(index)
    owners: list[str] = [""] * len(graph.node)
    for index in range(len(graph.node) - 1, -1, -1):  # readers come later in topological order
        node = graph.node[index]
        following = [owners[i] for name in node.output for i in readers[name]]
        named = next((block_of(n) for n in (node.name, *node.output) if "/" in n), "")
        if not named:
            named = following[0] if following else ""
        if named in position:
            named = min([named, *following], key=lambda block: position.get(block, len(order)))
        owners[index] = named
    return owners


def _model(
    source: onnx.ModelProto,
    name: str,
    nodes: Iterable[onnx.NodeProto],
    inputs: Iterable[onnx.ValueInfoProto],
    outputs: Iterable[onnx.ValueInfoProto],
    weights: Iterable[onnx.TensorProto],
) -> onnx.ModelProto:
    graph = onnx.helper.make_graph(list(nodes), name, list(inputs), list(outputs), list(weights))
    return onnx.helper.make_model(
        graph, opset_imports=source.opset_import, ir_version=source.ir_version
    )
