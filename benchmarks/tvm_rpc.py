"""Kernels timed over RPC on loopback against the same kernels timed without it.

Both times come from the same library and the same evaluator (wall time on the side that runs it),
in turns, kernel by kernel; what is compared is the median over the kernels of remote / local. The
second figure is the wall time from the first byte sent to the last kernel called once, for each
kernel of a library. Code is untuned: its speed does not matter here.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from report_format import emit, result

from hwnas.lowering import random_weights
from hwnas.spaces import get_space
from hwnas.tvm_worker import find_tvm
from hwnas.tvm_worker.devices.process import DeviceProcess

SPACE = "mbconv-digits"
HERE = ("--host", "127.0.0.1", "--port", "0")
KEY = "benchmark"
RUNS = 9


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="a small version, for CI")
    arguments = parser.parse_args()
    found = find_tvm()
    if not found.works:
        sys.exit(f"{found.found}: {found.remedy}")
    rounds, networks, uploads = (5, 1, 2) if arguments.quick else (40, 3, 5)
    with DeviceProcess("tracker", *HERE) as tracker:
        where = ("--tracker-host", tracker.address.host)
        port = ("--tracker-port", str(tracker.address.port))
        with DeviceProcess("server", *HERE, "--key", KEY, *where, *port):
            emit("tvm_rpc", measure(tracker, rounds, networks, uploads), arguments.json)


def measure(
    tracker: DeviceProcess, rounds: int, networks: int, uploads: int
) -> list[dict[str, object]]:
    """Returns the results."""
    from hwnas.backends.tvm_kernels import model_bytes
    from hwnas.tvm_worker.building import llvm_target
    from hwnas.tvm_worker.cross_compiling import find_linker
    from hwnas.tvm_worker.devices.bench import build_kernels
    from hwnas.tvm_worker.devices.sessions import Boards, Job
    from hwnas.tvm_worker.kernels import kernels_of, module_of
    from hwnas.tvm_worker.messages import CodeTarget
    from hwnas.tvm_worker.relax_module import fuse, import_onnx

    rng = np.random.default_rng(0)
    space = get_space(SPACE)
    kernels = {}
    for row in space.sample(networks, rng):
        graph = space.network(space.architecture(row))
        module = fuse(import_onnx(model_bytes(graph, random_weights(graph, rng))))
        kernels |= {f"kernel_{k.key}": k for k in kernels_of(module).values()}
    boards = Boards(tracker.address, KEY)
    with tempfile.TemporaryDirectory() as folder:
        libraries = [
            build_kernels(
                module_of(kernels),
                kernels,
                llvm_target(CodeTarget()),
                Path(folder) / f"kernels{number}.so",
                find_linker(CodeTarget()),
            )
            for number in range(uploads)
        ]
        loading = boards.run([Job("load", lambda b, x=x: _load(b, x)) for x in libraries])
        timing = boards.run(
            [Job("time", lambda board: _compare(board, libraries[0], rounds, rng))]
        )
        boards.close()
    for outcome in (loading, timing):
        if outcome.failure is not None:
            raise outcome.failure
    load_ms = [1e3 * seconds / len(kernels) for seconds in loading.results.values()]
    ratios = timing.results[0]
    low, high = np.percentile(ratios, (25, 75))
    return [
        result(
            "rpc_over_local",
            float(np.median(ratios)),
            "1",
            better="lower",
            reach=1.05,
            kernels=len(kernels),
            rounds=rounds,
            quartiles=[float(low), float(high)],
        ),
        result(
            "upload_and_load_ms_per_kernel",
            float(np.median(load_ms)),
            "ms",
            better="lower",
            reach=20.0,
            kernels_in_library=len(kernels),
        ),
    ]


def _load(board, library) -> float:  # type: ignore[no-untyped-def]
    """Seconds to send and load a library and to call each of its kernels once."""
    from hwnas.tvm_worker.devices.bench import time_kernel

    begin = time.monotonic()
    for name in library.arguments:
        time_kernel(board, library, name, runs=1, cold=False)
    return time.monotonic() - begin


def _compare(board, library, rounds: int, rng) -> list[float]:  # type: ignore[no-untyped-def]
    """Remote over local median of each kernel, measured in turns."""
    import tvm

    from hwnas.tvm_worker.devices.bench import time_kernel

    here = tvm.runtime.load_module(str(library.path))
    fill = tvm.get_global_func("tvm.contrib.random.random_fill")
    evaluators, tensors = {}, {}
    for name, wanted in library.arguments.items():
        tensors[name] = [tvm.runtime.empty(shape, dtype) for shape, dtype in wanted]
        for tensor in tensors[name]:
            fill(tensor)
        evaluators[name] = here.time_evaluator(name, tvm.cpu(), number=1, repeat=RUNS)
    remote: dict[str, list[float]] = {name: [] for name in evaluators}
    local: dict[str, list[float]] = {name: [] for name in evaluators}
    for _ in range(rounds):
        for name, evaluate in evaluators.items():
            sides = [True, False] if rng.random() < 0.5 else [False, True]
            for is_remote in sides:
                if is_remote:
                    found = time_kernel(board, library, name, runs=RUNS, cold=False)
                    remote[name].append(float(np.median(found)))
                else:
                    found = np.array(evaluate(*tensors[name]).results)
                    local[name].append(float(np.median(found)))
    return [float(np.median(remote[name]) / np.median(local[name])) for name in evaluators]


if __name__ == "__main__":
    main()
