"""Whether networks compute the same through torch, ONNX Runtime and TVM: 200 random architectures.

The same weights go three ways: hwnas's torch module with batch norm unfolded, ONNX Runtime on the
folded ONNX model, and TVM's code for this machine's processor (untuned, which decides its speed
and not its results). An architecture agrees if no two of the three differ by more than 1e-4 of the
largest logit, on logits that are not all alike.

Each network has a `main` of its own; kernels that several networks of a space share are compiled
once, as the cost table measures them once.
"""

import argparse
import time

import numpy as np
import onnxruntime as ort
import torch
import tvm
import tvm_ffi
from report_format import emit, result
from tvm import relax

from hwnas.backends.tvm_kernels import model_bytes
from hwnas.graph import shape_of
from hwnas.lowering import random_weights
from hwnas.lowering.torch_module import TorchModule
from hwnas.spaces import available_spaces, get_space
from hwnas.tvm_worker.building import compile_module, llvm_target
from hwnas.tvm_worker.kernels import kernel_of
from hwnas.tvm_worker.messages import CodeTarget
from hwnas.tvm_worker.relax_module import fuse, import_onnx

SEED = 0
TOLERANCE = 1e-4
LEAST_SPREAD = 1e-2  # of logits, as a share of the largest: below, all weights give the same
ARCHITECTURES = 200
AT_ONCE = 20  # networks in memory
# Image sides at which TVM's untuned code of large networks takes seconds and not minutes.
SIDES = {"fbnet": 64, "ofa-mbv3": 64, "proxyless-mobile": 64}
LARGE = ("darts", "fbnet", "fbnet-cifar", "ofa-mbv3", "proxyless-mobile")
QUICK = ("cells-digits", "mbconv-digits")
OF_LARGE = 12  # architectures; the small spaces share what is left


def planned(quick: bool) -> dict[str, int]:
    """Spaces, and how many architectures of each."""
    large = [name for name in available_spaces() if name in LARGE]
    small = [name for name in available_spaces() if name not in LARGE]
    if quick:
        return dict.fromkeys(QUICK, 1)
    left = ARCHITECTURES - OF_LARGE * len(large)
    shares = {
        name: len(part)
        for name, part in zip(small, np.array_split(range(left), len(small)), strict=True)
    }
    return {name: shares.get(name, OF_LARGE) for name in available_spaces()}


class Networks:
    """Networks of one space, lowered into one module in which equal kernels are one function."""

    def __init__(self) -> None:
        self.lowering_s: list[float] = []
        self._functions: dict[tvm.ir.GlobalVar, relax.Expr] = {}
        self._kernels: dict[str, tvm.ir.GlobalVar] = {}
        self.compile_s = 0.0

    @property
    def kernels(self) -> int:
        """How many different ones there are."""
        return len(self._kernels)

    def add(self, model: bytes) -> None:
        """Lower an ONNX model."""
        begin = time.perf_counter()
        module = fuse(import_onnx(model))
        self.lowering_s.append(time.perf_counter() - begin)
        shared = {}
        for name, function in module.functions_items():
            if isinstance(function, tvm.tirx.PrimFunc):
                shared[name] = self._shared(name, function)
        main = tvm_ffi.structural_map(
            module["main"], (tvm.ir.GlobalVar, lambda name: shared.get(name, name))
        )
        name = f"main_{len(self.lowering_s) - 1}"
        self._functions[tvm.ir.GlobalVar(name)] = main.with_attr("global_symbol", name)

    def _shared(self, name: tvm.ir.GlobalVar, function: tvm.tirx.PrimFunc) -> tvm.ir.GlobalVar:
        key = f"kernel_{kernel_of(function).key}"
        if key not in self._kernels:
            where = self._kernels[key] = tvm.ir.GlobalVar(key)
            relax.expr._update_type(where, name.ty)
            if function.attrs is not None and "global_symbol" in function.attrs:
                function = function.without_attr("global_symbol")
            self._functions[where] = function
        return self._kernels[key]

    def run(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        """Compile, and give the logits of each network."""
        begin = time.perf_counter()
        executable = compile_module(tvm.IRModule(self._functions), llvm_target(CodeTarget()))
        machine = relax.VirtualMachine(executable, tvm.cpu())
        self.compile_s = time.perf_counter() - begin
        return [
            machine[f"main_{number}"](tvm.runtime.tensor(x)).numpy()
            for number, x in enumerate(inputs)
        ]


def compare(name: str, count: int, rng: np.random.Generator) -> tuple[np.ndarray, Networks]:
    """Largest relative difference and spread of the logits, `(n, 2)`, and what was lowered."""
    space = get_space(f"{name}@{SIDES[name]}" if name in SIDES else name)
    networks, inputs, known = Networks(), [], []
    for indices in space.sample(count, rng):
        graph = space.network(space.architecture(indices))
        weights = random_weights(graph, rng)
        x = rng.standard_normal(shape_of(graph.inputs[0]), dtype=np.float32)
        model = model_bytes(graph, weights)
        networks.add(model)
        inputs.append(x)
        known.append((run_torch(graph, weights, x), run_ort(model, x)))
    rows = []
    for (by_torch, by_ort), by_tvm in zip(known, networks.run(inputs), strict=True):
        three = [np.asarray(logits, np.float64) for logits in (by_torch, by_ort, by_tvm)]
        largest = np.abs(three[0]).max()
        difference = max(np.abs(a - b).max() for a in three for b in three)
        rows.append((difference / largest, three[0].std() / largest))
    return np.array(rows), networks


def run_torch(graph, weights, x):
    """Logits by hwnas's torch module."""
    with torch.inference_mode():
        return TorchModule(graph, weights).eval()(torch.from_numpy(x)).numpy()


def run_ort(model, x):
    """Logits by ONNX Runtime."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    rng = np.random.default_rng(SEED)
    parts, lowering_s, compile_s, kernels = [], [], 0.0, 0
    plan = planned(arguments.quick)
    for name, count in plan.items():
        for begin in range(0, count, AT_ONCE):
            rows, networks = compare(name, min(AT_ONCE, count - begin), rng)
            parts.append(rows)
            lowering_s += networks.lowering_s
            compile_s += networks.compile_s
            kernels += networks.kernels
            if arguments.verbose:
                print(
                    f"{name}: {len(rows)} networks, {networks.kernels} kernels, worst "
                    f"{rows[:, 0].max():.1e}, lowered in {sum(networks.lowering_s):.1f} s, "
                    f"compiled in {networks.compile_s:.1f} s",
                    flush=True,
                )
    rows = np.concatenate(parts)
    agrees = (rows[:, 0] <= TOLERANCE) & (rows[:, 1] >= LEAST_SPREAD)
    results = [
        result(
            "agreement_share",
            float(agrees.mean()),
            "1",
            reach=1.0,
            architectures=len(rows),
            spaces=plan,
        ),
        result("worst_relative_difference", float(rows[:, 0].max()), "1", better="lower"),
        result("least_relative_spread", float(rows[:, 1].min()), "1"),
        result("lowering_s", float(np.median(lowering_s)), "s", better="lower"),
        result("lowering_s_max", float(np.max(lowering_s)), "s", better="lower"),
        result("compile_s_per_kernel", compile_s / kernels, "s", better="lower"),
    ]
    emit("lowering", results, arguments.json)


if __name__ == "__main__":
    main()
