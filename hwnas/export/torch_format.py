"""The `torch` format: a dictionary of plain tensors, batch normalisation not folded.

`hwnas.lowering.torch_module.TorchModule(space.network(architecture), weights)` takes it for
further training. The file loads with `torch.load(..., weights_only=True)`.
"""

import io
from pathlib import Path

import numpy as np

from hwnas.export.request import ExportRequest, Written

__all__ = ["MODEL_NAME", "export_torch"]

MODEL_NAME = "model.pt"


def export_torch(request: ExportRequest, folder: Path) -> Written:
    """Write `model.pt` and run the network with the tensors read back from it.

    Raises:
        LoweringError: A weight is missing, or an operator has no torch counterpart.
    """
    import torch  # heavy: only who exports to torch waits for it

    from hwnas.lowering.torch_module import TorchModule

    graph = request.space.network(request.architecture)
    module = TorchModule(graph, request.weights).eval()
    tensors = {name: torch.from_numpy(array) for name, array in module.weights().items()}
    buffer = io.BytesIO()  # torch's own file writer hides which error the disk gave
    torch.save(tensors, buffer)
    (folder / MODEL_NAME).write_bytes(buffer.getvalue())

    loaded = torch.load(folder / MODEL_NAME, weights_only=True)
    restored = TorchModule(graph, {name: t.numpy() for name, t in loaded.items()}).eval()
    with torch.inference_mode():
        logits = restored(torch.from_numpy(np.ascontiguousarray(request.images)))
    return Written(
        MODEL_NAME,
        logits.numpy(),
        f"torch {torch.__version__} (CPU)",
        ("A dictionary of tensors by weight name; batch normalisation is not folded.",),
    )
