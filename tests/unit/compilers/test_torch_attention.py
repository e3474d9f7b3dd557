import pytest
import torch
from torch import nn

from hwnas.compilers.torch_attention import attention_decompositions

FUSED = torch.ops.aten._transformer_encoder_layer_fwd.default


def arguments(layer, x, mask=None):
    attention = layer.self_attn
    return (
        x,
        attention.embed_dim,
        attention.num_heads,
        attention.in_proj_weight,
        attention.in_proj_bias,
        attention.out_proj.weight,
        attention.out_proj.bias,
        layer.activation_relu_or_gelu == 2,
        layer.norm_first,
        layer.norm1.eps,
        layer.norm1.weight,
        layer.norm1.bias,
        layer.norm2.weight,
        layer.norm2.bias,
        layer.linear1.weight,
        layer.linear1.bias,
        layer.linear2.weight,
        layer.linear2.bias,
        mask,
    )


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_decomposition_gives_what_the_fused_operator_gives(norm_first, activation):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        16, 4, 24, batch_first=True, norm_first=norm_first, activation=activation
    ).eval()
    given = arguments(layer, torch.randn(2, 5, 16))

    with torch.no_grad():
        found = attention_decompositions()[FUSED](*given)
        wanted = FUSED(*given)

    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_mask_is_refused():
    layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True).eval()
    mask = torch.zeros(5, 5, dtype=torch.bool)

    with pytest.raises(NotImplementedError, match="mask"):
        attention_decompositions()[FUSED](*arguments(layer, torch.randn(2, 5, 16), mask))
