"""Messages come out of the pipe as they went in."""

import msgspec
import pytest

from hwnas.tvm_worker.messages import (
    BuildNetworks,
    CodeTarget,
    ExportLibrary,
    FindGpu,
    Lower,
    Request,
)

GPU = CodeTarget(cuda="sm_90", precision="float16")


@pytest.mark.parametrize(
    "request_",
    [
        Lower({"network": b"onnx"}, pieces=True, target=GPU),
        BuildNetworks({"network": b"onnx"}, GPU),
        ExportLibrary(b"onnx", GPU, "model.so", twin=True),
        FindGpu(),
    ],
)
def test_a_request_comes_out_as_it_went_in(request_):
    encoded = msgspec.msgpack.encode(request_)

    assert msgspec.msgpack.decode(encoded, type=Request) == request_


def test_a_precision_that_no_code_is_made_for_is_no_message():
    encoded = msgspec.msgpack.encode(Lower({}, target=CodeTarget(precision="tf32")))

    with pytest.raises(msgspec.ValidationError, match="tf32"):
        msgspec.msgpack.decode(encoded, type=Request)
