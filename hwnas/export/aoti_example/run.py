"""Run model.pt2 on a batch of noise and time it: `python run.py`; needs torch alone.

On a GPU the network is recorded as a CUDA graph first: its kernels are so short that launching
them one by one from the host would take longer than running them.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

HERE = Path(__file__).parent
INPUT = json.loads((HERE / "input.json").read_text())  # device, dtype, shape, channels_last, tf32


def main() -> None:
    """Load, run, time."""
    torch.backends.cuda.matmul.allow_tf32 = INPUT["tf32"]
    torch.backends.cudnn.allow_tf32 = INPUT["tf32"]
    model = torch._inductor.aoti_load_package(str(HERE / "model.pt2"))
    images = torch.randn(INPUT["shape"], device=INPUT["device"]).to(getattr(torch, INPUT["dtype"]))
    if INPUT["channels_last"]:
        images = images.contiguous(memory_format=torch.channels_last)
    logits = model(images)
    logits = logits if isinstance(logits, torch.Tensor) else logits[0]
    print("logits", tuple(logits.shape), "finite", bool(torch.isfinite(logits).all()))
    run = recorded(model, images) if INPUT["device"] == "cuda" else lambda: model(images)
    print(f"{1e3 * median_s(run):.4f} ms a batch, launched from the host and waited for")


def recorded(model: Callable[..., object], images: torch.Tensor) -> Callable[[], None]:
    """The network as a CUDA graph on fixed buffers: copy further images into `images`."""
    for _ in range(3):
        model(images)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        model(images)

    def run() -> None:
        graph.replay()
        torch.cuda.synchronize()

    return run


def median_s(run: Callable[[], object]) -> float:
    """Median of 100 runs in s."""
    samples = []
    for _ in range(100):
        begin = time.perf_counter()
        run()
        samples.append(time.perf_counter() - begin)
    return statistics.median(samples)


if __name__ == "__main__":
    main()
