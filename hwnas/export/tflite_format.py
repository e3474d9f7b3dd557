"""The `tflite` format: one file for LiteRT, on phones as on this machine.

The bytes are those of `hwnas.lowering.tflite_model.to_tflite`, which the target `litert-cpu` loads
too: the file that is handed over is the file that was measured.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from hwnas.backends.litert_cpu import LitertCpuBackend
from hwnas.backends.litert_executable import LitertExecutable
from hwnas.export.request import ExportRequest, Written
from hwnas.lowering.tflite_model import SIGNATURE, to_tflite
from hwnas.targets import available_targets, get_target

__all__ = ["MODEL_NAME", "export_tflite"]

MODEL_NAME = "model.tflite"


def export_tflite(request: ExportRequest, folder: Path) -> Written:
    """Write `model.tflite` and run it on the request's images with LiteRT.

    Raises:
        LoweringError: An operator has no counterpart, or a weight is missing.
        PluginError: `ai-edge-litert` is not installed.
    """
    graph = request.space.network(request.architecture)
    path = folder / MODEL_NAME
    path.write_bytes(to_tflite(graph, request.weights))
    target, backend = get_target("litert-cpu"), LitertCpuBackend()
    written = backend.compile_model(path, target)
    logits = _run(written, request.images)
    (source,) = written.input_shapes.items()
    (name, result), *_ = written.results().items()
    return Written(
        MODEL_NAME,
        logits,
        f"{backend.runtime(target)} (CPU)",
        (
            f"Input {source[0]!r} is float32 of shape {list(source[1])}: one image, channels last "
            "(n, h, w, c).",
            f"Output {name!r} is float32 of shape {list(result.shape)}: the logits"
            f"{', channels last' if result.ndim == 4 else ''}.",
            f"The signature {SIGNATURE!r} has the same names.",
            "Batch normalisation is folded into the convolutions.",
        ),
        not_its_costs=_not_its_costs(request, backend.name),
    )


def _not_its_costs(request: ExportRequest, backend: str) -> str:
    """Why the costs of the request are of another runtime; empty if they are LiteRT's."""
    name = request.facts.target.name
    if name in available_targets() and get_target(name).backend == backend:
        return ""
    return (
        f"costs of target {name!r} are not LiteRT's; for those of this file search with a target "
        "such as litert-cpu."
    )


def _run(written: LitertExecutable, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    (name,) = written.input_shapes
    logits = []
    for image in images:
        written.read({name: np.ascontiguousarray(image.transpose(1, 2, 0)[None])})
        written.run()
        (found,) = written.results().values()
        logits.append(found.transpose(0, 3, 1, 2) if found.ndim == 4 else found)
    return np.concatenate(logits)
