"""The `aoti` format: a network compiled ahead of time by torch, tuned as a whole.

What is measured in profiles and searches are blocks that torch compiles one by one. A network that
is handed over is worth more patience: the package is made by AOTInductor with all alternatives of
every kernel tried on the device (`max_autotune`), so it is compiled where it runs. It loads with
torch alone, from Python or C++; `run.py` beside it shows how, recorded as a CUDA graph.

The package holds machine code: load packages of people that you trust.
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hwnas.backends.cuda.device_clock import CudaClock
from hwnas.backends.cuda.torch_programs import TensorForm, tensor_form
from hwnas.errors import LoweringError
from hwnas.export.request import ExportRequest, Written
from hwnas.graph import Graph
from hwnas.lowering import Weights
from hwnas.lowering.fold_batch_norm import fold_batch_norm
from hwnas.lowering.torch_module import TorchModule

__all__ = ["MODEL_NAME", "export_aoti", "inference_module", "write_package"]

MODEL_NAME = "model.pt2"
_RUN_NAME = "run.py"
_INPUT_NAME = "input.json"
_STEPS = {  # between 1 and the next number
    "float32": 0.0,
    "tf32": 2.0**-10,
    "float16": 2.0**-10,
    "bfloat16": 2.0**-7,
}
_ROUNDINGS = 8.0  # steps by which the largest logit may be off
_TUNING: dict[str, Any] = {"max_autotune": True}
_WARMUP, _PASSES = 3, 31  # of the latency in the receipt's notes


def export_aoti(request: ExportRequest, folder: Path) -> Written:
    """Write `model.pt2` and `run.py`, and run the package on the request's images.

    Raises:
        LoweringError: An operator has no torch counterpart, or torch's compiler fails.
    """
    deployment = request.deployment
    device = "cuda" if deployment.on_gpu else "cpu"
    form = tensor_form(deployment.precision)
    graph = request.space.network(request.architecture)
    module = inference_module(graph, request.weights, form).to(device)
    shape = (deployment.batch, *request.images.shape[1:])
    example = form.of(torch.zeros(shape, device=device))
    with _tf32(form), torch.no_grad():
        write_package(module, example, folder / MODEL_NAME)
        package = torch._inductor.aoti_load_package(str(folder / MODEL_NAME))
        logits = _run(package, request.images, example, form)
        timed = _timed(package, example) if device == "cuda" else ""
    described = {
        "device": device,
        "dtype": str(form.dtype).removeprefix("torch."),
        "shape": list(shape),
        "channels_last": form.memory_format == torch.channels_last,
        "tf32": form.tf32,
    }
    (folder / _INPUT_NAME).write_text(json.dumps(described) + "\n")
    source = files("hwnas.export").joinpath("aoti_example", _RUN_NAME)
    (folder / _RUN_NAME).write_bytes(source.read_bytes())
    largest = float(np.abs(request.logits).max())
    return Written(
        MODEL_NAME,
        logits,
        f"torch {torch.__version__} ({deployment.target.name})",
        (
            f"Compiled by AOTInductor with max_autotune for {deployment.target.description}.",
            f"Input: {described['dtype']} of shape {'x'.join(map(str, shape))}; {_RUN_NAME} shows "
            "how it is loaded, recorded as a CUDA graph on GPUs, and run.",
            "Batch normalisation is folded into the convolutions.",
            *([timed] if timed else []),
        ),
        target=deployment.target,
        not_its_costs="the run's costs are of blocks compiled one by one, and this package is "
        f"compiled as a whole; {_RUN_NAME} times it.",
        rounding=_ROUNDINGS * _STEPS[deployment.precision] * largest,
    )


def inference_module(graph: Graph, weights: Weights, form: TensorForm) -> nn.Module:
    """A network for inference: batch normalisation folded, weights in the given form."""
    module = TorchModule(*fold_batch_norm(graph, weights)).eval()
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.requires_grad_(False)
        tensor.data = form.of(tensor.data)
    return module


def write_package(module: nn.Module, example: Tensor, path: Path) -> Path:
    """Compile a module for inputs like the example, where the example lies.

    Raises:
        LoweringError: Torch's compiler fails.
    """
    try:
        program = torch.export.export(module, (example,))
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(path), inductor_configs=_TUNING
        )
    except Exception as error:  # the compiler's exception classes are many and private
        raise LoweringError(f"torch cannot compile the network ahead of time: {error}") from error
    return path


def _run(
    package: Any, images: npt.NDArray[np.float32], example: Tensor, form: TensorForm
) -> npt.NDArray[np.float32]:
    """Logits of all images, in batches of which the last is filled up."""
    batch = len(example)
    found = []
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        filled = np.concatenate([part, np.repeat(part[-1:], batch - len(part), axis=0)])
        given = form.of(torch.from_numpy(np.ascontiguousarray(filled)).to(example.device))
        found.append(_first(package(given))[: len(part)].float().cpu().numpy())
    return np.concatenate(found)


def _first(result: Any) -> Tensor:
    tensor: Tensor = result if isinstance(result, Tensor) else result[0]
    return tensor


def _timed(package: Any, example: Tensor) -> str:
    """The package's own latency, for the receipt's notes."""
    for _ in range(_WARMUP):
        package(example)
    recording = CudaClock().record([lambda: package(example)], warmup=_WARMUP, passes=_PASSES)
    median = 1e3 * float(np.median(recording.replay()))
    return (
        f"Measured latency of this package as a CUDA graph: {median:.4f} ms a batch, median of "
        f"{_PASSES} runs by the device's clock, without the launch."
    )


class _tf32:  # noqa: N801 (used like a function)
    """Whether float32 products may be rounded to tf32, while it lasts."""

    def __init__(self, form: TensorForm) -> None:
        self._wanted = form.tf32

    def __enter__(self) -> None:
        matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
        self._before = matmul.allow_tf32, cudnn.allow_tf32
        matmul.allow_tf32 = cudnn.allow_tf32 = self._wanted

    def __exit__(self, *_: object) -> None:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self._before
