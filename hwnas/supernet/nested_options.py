"""Whether one option of a block is a part of another one, told by their graphs alone.

A part has the same operators in the same places, with fewer channels, with smaller kernels around
the same centre, or without some factors such as squeeze-and-excitation.
"""

import onnx_ir as ir

__all__ = ["left_out_factors"]

_GEOMETRY = ("kernel_shape", "pads", "group")


def left_out_factors(part: ir.Value | None, whole: ir.Value | None) -> frozenset[str] | None:
    """Names of the products `x * s` of the whole in whose place the part has `x`.

    None if the part is not the whole without factors, channels and rings of kernels.
    """
    known: dict[tuple[int, int], frozenset[str] | None] = {}

    def compare(a: ir.Value | None, b: ir.Value | None) -> frozenset[str] | None:
        mark = id(a), id(b)
        if mark not in known:
            known[mark] = _compare(a, b)
        return known[mark]

    def _compare(a: ir.Value | None, b: ir.Value | None) -> frozenset[str] | None:
        if a is None or b is None:
            return frozenset() if a is b else None
        one, other = a.producer(), b.producer()
        if one is None and other is None:
            return frozenset() if a.name == b.name else None
        if one is not None and other is not None and _same(one, other):
            pairs = zip(one.inputs, other.inputs, strict=True)
            found = [compare(x, y) for x, y in pairs]
            if None not in found:
                return frozenset().union(*(each for each in found if each is not None))
        if other is None or other.op_type != "Mul":
            return None
        before = compare(a, other.inputs[0])
        return None if before is None else before | {other.name or ""}

    return compare(part, whole)


def _same(one: ir.Node, other: ir.Node) -> bool:
    """Whether two nodes do the same but for channels and centred kernels."""
    if one.op_type != other.op_type or len(one.inputs) != len(other.inputs):
        return False
    attributes, others = (
        {key: each.value for key, each in node.attributes.items() if key not in _GEOMETRY}
        for node in (one, other)
    )
    if attributes != others:
        return False
    if one.op_type != "Conv":
        return True
    pads, more = _ints(one, "pads"), _ints(other, "pads")
    sides, larger = _ints(one, "kernel_shape"), _ints(other, "kernel_shape")
    rings = tuple((b - a) // 2 for a, b in zip(sides, larger, strict=True))
    return tuple(b - a for a, b in zip(pads, more, strict=True)) == rings * 2


def _ints(node: ir.Node, name: str) -> tuple[int, ...]:
    found = node.attributes.get(name)
    return () if found is None else tuple(found.as_ints())
