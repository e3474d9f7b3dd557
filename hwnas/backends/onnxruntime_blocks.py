"""Cut a graph that ONNX Runtime has optimised at the borders of the network's blocks.

The optimiser keeps an operator's name as the stem of the fused operator's name, so `stage1.2/conv`
ends up in a node that still starts with `stage1.2/`. Layout changes that it inserts have names of
their own: one that writes a value of a block belongs to that block, any other to its first reader.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable

import onnx

__all__ = ["cut_blocks"]


def cut_blocks(
    model: onnx.ModelProto, blocks: Collection[str]
) -> tuple[onnx.ModelProto, dict[str, onnx.ModelProto]]:
    """Cut a model.

    Args:
        model: An optimised model.
        blocks: Names of the blocks to cut out.

    Returns:
        The whole model with every border tensor as an output, and one model per wanted block that
        has operators of its own and one border tensor on either side.
    """
    graph = model.graph
    owners = _owners(graph)
    made_by = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    results = {value.name for value in graph.output}
    declared = (*graph.input, *graph.output)
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
        if not inside or len(entering[block]) != 1 or len(leaving[block]) != 1:
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


def _owners(graph: onnx.GraphProto) -> list[str]:
    """Block of every operator, by name, else by what it writes, else by who reads it."""
    readers: dict[str, list[int]] = defaultdict(list)
    for index, node in enumerate(graph.node):
        for name in node.input:
            readers[name].append(index)
    owners: list[str] = [""] * len(graph.node)
    for index in range(len(graph.node) - 1, -1, -1):  # readers come later in topological order
        node = graph.node[index]
        named = next((n.split("/")[0] for n in (node.name, *node.output) if "/" in n), "")
        if not named:
            following = readers[node.output[0]]
            named = owners[following[0]] if following else ""
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
