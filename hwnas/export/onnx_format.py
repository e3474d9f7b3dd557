"""The `onnx` format: one file, weights inside, batch normalisation folded, any batch size.

Spaces are built for one image. Where every operator lets a batch through, the written model has a
symbolic batch axis, so that it serves one image or many; that is found by ONNX's own shape
inference. A network with, for instance, a fixed `Reshape` keeps its batch of 1, and the receipt
says so.
"""

from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from hwnas.export.request import ExportRequest, Written
from hwnas.lowering import check_onnx, to_onnx
from hwnas.lowering.fold_batch_norm import fold_batch_norm
from hwnas.search.installed_versions import installed_versions

__all__ = ["MODEL_NAME", "export_onnx"]

MODEL_NAME = "model.onnx"
BATCH = "batch"
_RUN_AT_ONCE = 32  # images; bounds memory on networks with large feature maps


def export_onnx(request: ExportRequest, folder: Path) -> Written:
    """Write `model.onnx` and run it on the request's images with ONNX Runtime.

    Raises:
        LoweringError: ONNX's checker refuses the model, or a weight is missing.
    """
    graph, weights = fold_batch_norm(request.space.network(request.architecture), request.weights)
    fixed = to_onnx(graph, weights)
    model = _with_symbolic_batch(fixed)
    symbolic = model is not None
    if model is None:
        model = fixed
    model.producer_version = installed_versions()["hwnas"]
    facts = {
        "hwnas.space": request.space.name,
        "hwnas.architecture": msgspec.json.encode(request.architecture.indices).decode(),
        "hwnas.version": installed_versions()["hwnas"],
    }
    onnx.helper.set_model_props(model, facts)
    check_onnx(model)
    content = model.SerializeToString(deterministic=True)
    (folder / MODEL_NAME).write_bytes(content)
    note = (
        f"The batch axis is symbolic ({BATCH!r}): the model takes any number of images."
        if symbolic
        else "The batch size is 1: an operator of the network fixes it."
    )
    return Written(
        MODEL_NAME,
        _run(folder / MODEL_NAME, request.images, _RUN_AT_ONCE if symbolic else 1),
        f"onnxruntime {ort.__version__} (CPU)",
        (note, "Batch normalisation is folded into the convolutions."),
    )


def _with_symbolic_batch(model: onnx.ModelProto) -> onnx.ModelProto | None:
    """The model for any batch size, or None if an operator fixes it."""
    free = onnx.ModelProto()
    free.CopyFrom(model)
    del free.graph.value_info[:]  # shapes of one image; inferred again by who needs them
    for value in (*free.graph.input, *free.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    asked = onnx.ModelProto()
    asked.CopyFrom(free)
    for value in asked.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(asked, check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError:
        return None
    for value in inferred.graph.output:
        sides = value.type.tensor_type.shape.dim
        if not sides or sides[0].dim_param != BATCH:
            return None
    return free


def _run(path: Path, images: npt.NDArray[np.float32], at_once: int) -> npt.NDArray[np.float32]:
    """Logits of the written file; the first image alone, so that a batch of one is tried too."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    batches = [images[:1]]
    batches += [images[i : i + at_once] for i in range(1, len(images), at_once)]
    images_of = (np.ascontiguousarray(batch, dtype=np.float32) for batch in batches)
    return np.concatenate([session.run(None, {name: batch})[0] for batch in images_of])
