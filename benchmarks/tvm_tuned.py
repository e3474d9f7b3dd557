"""Tuned TVM against ONNX Runtime, one thread, in turns by the thread's CPU time.

One MBConv block (32 -> 192 -> 32, kernel 3, with residual, 56x56) and a small network of 8 such
blocks at 224x224, each tuned into an empty database within the limit. The quick run takes a block
and a network of 2 blocks on small images, and tries four schedules a kernel.

    python benchmarks/tvm_tuned.py [--json] [--quick] [--limit 600] [--cpu host] [--only NAME]
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from report_format import emit, result

from hwnas.graph import Graph, GraphBuilder
from hwnas.lowering import random_weights, to_onnx
from hwnas.tvm_worker.messages import CodeTarget

REACH = {"mbconv": 1.15, "network": 1.5}
LARGEST_ERROR = 1e-4
LONGEST_TUNING_S = 600.0
QUICK_SIDE = 16
QUICK_BLOCKS = 2
QUICK_TRIALS = 4  # for each kernel
ROUNDS = 60
RUNS = 5  # of each in a round
BLOCKS = (  # expansion, kernel, stride, channels
    (1, 3, 1, 16),
    (6, 3, 2, 24),
    (6, 3, 1, 24),
    (6, 5, 2, 40),
    (6, 5, 1, 40),
    (6, 3, 2, 80),
    (6, 3, 1, 80),
    (6, 5, 2, 160),
)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="a small run that checks the script")
    parser.add_argument("--limit", type=float, default=LONGEST_TUNING_S, help="s of tuning, each")
    parser.add_argument("--cpu", default="host", help="LLVM's name of the processor")
    parser.add_argument("--only", choices=sorted(REACH), help="one case instead of both")
    arguments = parser.parse_args()
    os.environ["TVM_NUM_THREADS"] = "1"
    results = []
    cases = {"mbconv": mbconv(), "network": network()}
    if arguments.quick:
        cases = {"mbconv": mbconv(QUICK_SIDE), "network": network(2 * QUICK_SIDE, QUICK_BLOCKS)}
    for name in [arguments.only] if arguments.only else cases:
        limit_s = None if arguments.quick else arguments.limit
        results += compare(name, cases[name], limit_s, arguments.cpu)
    emit("tvm_tuned", results, arguments.json)


def compare(name: str, graph: Graph, limit_s: float | None, cpu: str) -> list[dict]:
    """Tune, for a time or else a few trials, check, and time both."""
    # Here, after the number of threads is set, and only where it is needed: it takes seconds.
    import tvm
    from tvm import relax

    from hwnas.tvm_worker.building import compile_module, llvm_target
    from hwnas.tvm_worker.kernels import calls_of
    from hwnas.tvm_worker.relax_module import fuse, import_onnx
    from hwnas.tvm_worker.tuning.tuner import apply_database, tune

    rng = np.random.default_rng(0)
    model = to_onnx(graph, random_weights(graph, rng)).SerializeToString()
    target = llvm_target(CodeTarget(cpu=cpu))
    fused = fuse(import_onnx(model))
    with tempfile.TemporaryDirectory() as folder:
        summary = tune(
            fused,
            target,
            Path(folder),
            limit_s=limit_s,
            trials=QUICK_TRIALS * len(set(calls_of(fused))) if limit_s is None else None,
            seed=0,
            on_progress=lambda text, share: print(f"{share:.0%} {text}", file=sys.stderr),
        )
        tuned, left = apply_database(fused, target, Path(folder))
    if left:
        raise SystemExit(f"{name}: {len(left)} kernels are left untuned; give more --limit")
    vm = relax.VirtualMachine(compile_module(tuned, target), tvm.cpu())
    session, binding, x = bound_session(model, rng)
    given = tvm.runtime.tensor(x)
    session.run_with_iobinding(binding)
    expected = binding.copy_outputs_to_cpu()[0]
    error = np.abs(vm["main"](given).numpy() - expected).max() / np.abs(expected).max()
    function = vm["main"]
    tvm_s, ort_s = in_turns(lambda: function(given), lambda: session.run_with_iobinding(binding))
    details = {
        "tvm_s": tvm_s,
        "ort_s": ort_s,
        "trials": summary.trials,
        "cpu": target.attrs["mcpu"],
    }
    return [
        result(
            f"{name}_over_ort", tvm_s / ort_s, "1", better="lower", reach=REACH[name], **details
        ),
        result(f"{name}_relative_error", float(error), "1", better="lower", reach=LARGEST_ERROR),
        result(f"{name}_tuning_s", summary.seconds, "s", better="lower", reach=LONGEST_TUNING_S),
    ]


def bound_session(
    model: bytes, rng: np.random.Generator
) -> tuple[onnxruntime.InferenceSession, onnxruntime.IOBinding, npt.NDArray[np.float32]]:
    """ONNX Runtime on one thread, with its input in place, and that input."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    x = rng.standard_normal(given.shape).astype(np.float32)
    binding = session.io_binding()
    binding.bind_ortvalue_input(given.name, onnxruntime.OrtValue.ortvalue_from_numpy(x))
    binding.bind_output(session.get_outputs()[0].name)
    return session, binding, x


def in_turns(*runs: Callable[[], object]) -> list[float]:
    """Median seconds of each, by the thread's CPU time."""
    seconds = np.empty((ROUNDS, len(runs)))
    for number in range(-3, ROUNDS):
        for column, run in enumerate(runs):
            begin = time.thread_time_ns()
            for _ in range(RUNS):
                run()
            seconds[max(number, 0), column] = 1e-9 * (time.thread_time_ns() - begin) / RUNS
    return [float(each) for each in np.median(seconds, axis=0)]


def mbconv(side: int = 56) -> Graph:
    """One block, 44 million multiply-accumulates at 56x56."""
    builder = GraphBuilder("mbconv")
    x = builder.input("x", (1, 32, side, side))
    builder.output(_block(builder, x, 6, 3, 1, 32), "y")
    return builder.build()


def network(side: int = 224, blocks: int = len(BLOCKS)) -> Graph:
    """Stem, blocks and head: 145 million multiply-accumulates with 8 blocks at 224x224."""
    builder = GraphBuilder("small")
    x = builder.input("x", (1, 3, side, side))
    y = builder.relu6(builder.conv(x, 16, 3, name="stem", stride=2, bias=True))
    for number, (expansion, kernel, stride, channels) in enumerate(BLOCKS[:blocks]):
        with builder.scope(f"block{number}"):
            y = _block(builder, y, expansion, kernel, stride, channels)
    y = builder.relu6(builder.conv(y, 640, 1, name="head", bias=True))
    y = builder.flatten(builder.global_average_pool(y))
    builder.output(builder.gemm(y, 1000, name="classifier"), "y")
    return builder.build()


def _block(builder: GraphBuilder, x, expansion: int, kernel: int, stride: int, channels: int):
    given = int(x.shape[1])
    inner = given * expansion
    y = x
    if expansion != 1:
        y = builder.relu6(builder.conv(y, inner, 1, name="expand", bias=True))
    depthwise = builder.conv(
        y, inner, kernel, name="depthwise", stride=stride, group=inner, bias=True
    )
    y = builder.conv(builder.relu6(depthwise), channels, 1, name="project", bias=True)
    return builder.add(y, x) if stride == 1 and given == channels else y


if __name__ == "__main__":
    main()
