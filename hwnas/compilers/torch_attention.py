"""torch's fused encoder layer, written in operators that every exporter knows.

`nn.TransformerEncoderLayer` calls it when no gradient is asked for, and Dynamo records that choice
before a backend sees the graph.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["attention_decompositions"]


def attention_decompositions() -> Mapping[torch._ops.OpOverload, Callable[..., object]]:
    """Decompositions for `ExportedProgram.run_decompositions`."""
    aten = torch.ops.aten
    return {aten._transformer_encoder_layer_fwd.default: _encoder_layer}


def _encoder_layer(
    source: Tensor,
    width: int,
    heads: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    use_gelu: bool,
    norm_first: bool,
    epsilon: float,
    scale_1: Tensor,
    shift_1: Tensor,
    scale_2: Tensor,
    shift_2: Tensor,
    weight_1: Tensor,
    bias_1: Tensor,
    weight_2: Tensor,
    bias_2: Tensor,
    mask: Tensor | None = None,
    mask_type: int | None = None,  # noqa: ARG001 (the operator has it)
) -> Tensor:
    """Attention and feed-forward with their residuals (Vaswani et al., 2017; both norm orders)."""
    if mask is not None:
        raise NotImplementedError("a fused encoder layer with a mask")

    def attend(x: Tensor) -> Tensor:
        return _attend(x, heads, qkv_weight, qkv_bias, out_weight, out_bias)

    def feed_forward(x: Tensor) -> Tensor:
        inner = functional.linear(x, weight_1, bias_1)
        inner = functional.gelu(inner) if use_gelu else functional.relu(inner)
        return functional.linear(inner, weight_2, bias_2)

    def norm_1(x: Tensor) -> Tensor:
        return functional.layer_norm(x, (width,), scale_1, shift_1, epsilon)

    def norm_2(x: Tensor) -> Tensor:
        return functional.layer_norm(x, (width,), scale_2, shift_2, epsilon)

    if norm_first:
        source = source + attend(norm_1(source))
        return source + feed_forward(norm_2(source))
    source = norm_1(source + attend(source))
    return norm_2(source + feed_forward(source))


def _attend(
    x: Tensor,
    heads: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
) -> Tensor:
    batch, length, width = x.shape
    queries, keys, values = (
        part.reshape(batch, length, heads, width // heads).transpose(1, 2)
        for part in functional.linear(x, qkv_weight, qkv_bias).chunk(3, dim=-1)
    )
    scores = queries @ keys.transpose(-2, -1) * (width // heads) ** -0.5
    result = (scores.softmax(dim=-1) @ values).transpose(1, 2).reshape(batch, length, width)
    return functional.linear(result, out_weight, out_bias)
