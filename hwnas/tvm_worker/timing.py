"""Times of networks and of the kernels inside them. Runs where TVM runs."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
import tvm_ffi
from tvm import relax

from hwnas import _core
from hwnas.errors import MeasurementError
from hwnas.tvm_worker.noise import noise_tensor

__all__ = [
    "Form",
    "KernelWatch",
    "LoadedNetwork",
    "Seconds",
    "empty_calls_s",
    "time_kernels",
    "time_networks",
]

_EXAMPLE_SEED = 0
_BUILTIN = "vm.builtin"
_EMPTY_PASSES = 200
_TURN_S = 0.005  # between two waits: short against the 100 ms in which an energy counter moves
_TICK_S = 1e-9  # of the clocks; a kernel is never free
_MOST_ARGUMENTS = 8  # a watched call takes longer with each; kernels with more count as with 8

Call = tuple[str, int, int, int]
"""Function, number of arguments, thread CPU time and wall time in ns."""
Form = tuple[tuple[int, ...], str]
"""Shape and type of a tensor."""
Seconds = tuple[float, float]
"""Thread CPU time and wall time."""


class LoadedNetwork:
    """A network on this machine, inputs filled with standard normal noise.

    Args:
        executable: What was compiled.
        inputs: Shape and type of each input.
        kernels: Keys of its kernels in the order of its calls.
        names: Their names in the executable, in the same order.
        function: Its own name there.
        device: The processor, or a GPU that the executable was made for.
        arguments: Shape and type of each argument of each kernel, by its name.
    """

    def __init__(
        self,
        executable: relax.VMExecutable,
        inputs: Sequence[Form],
        kernels: tuple[str, ...] = (),
        names: tuple[str, ...] = (),
        function: str = "main",
        device: tvm.runtime.Device | None = None,
        arguments: Mapping[str, Sequence[Form]] | None = None,
    ) -> None:
        self.kernels = kernels
        self.names = names
        self.device = device or tvm.cpu()
        self.arguments = arguments or {}
        self._executable = executable
        self._function = function
        self._machine = relax.VirtualMachine(executable, self.device)
        self._main = self._machine[function]
        self._repeated: dict[str, Callable[[], Any]] = {}
        self._watched: tuple[relax.VirtualMachine, KernelWatch] | None = None
        rng = np.random.default_rng(_EXAMPLE_SEED)
        self._inputs = [
            tvm.runtime.tensor(rng.standard_normal(shape).astype(dtype), self.device)
            for shape, dtype in inputs
        ]

    @property
    def is_on_gpu(self) -> bool:
        """Whether a GPU runs it."""
        return bool(self.device.dlpack_device_type() != tvm.cpu().dlpack_device_type())

    def run(self) -> Any:
        """Run once on the example inputs, and wait for the results."""
        results = self._main(*self._inputs)
        if self.is_on_gpu:
            self.device.sync()
        return results

    def repeat(self, kernel: str, least_s: float) -> int:
        """Run again and again without a gap; how often.

        Args:
            kernel: Key of a kernel to run alone; empty for the whole network.
            least_s: How long, at least.
        """
        run = self._repeatable(kernel)
        run()
        self.device.sync()
        begin, runs, turn = time.perf_counter(), 0, 1
        while (elapsed := time.perf_counter() - begin) < least_s:
            if runs:  # waits between turns must not show
                turn = max(1, round(_TURN_S * runs / elapsed))
            for _ in range(turn):
                run()
            self.device.sync()
            runs += turn
        return runs

    def _repeatable(self, kernel: str) -> Callable[[], Any]:
        if not kernel:
            return partial(self._main, *self._inputs)
        if kernel not in self._repeated:
            name = self.names[self.kernels.index(kernel)]
            arguments = [noise_tensor(*form, self.device) for form in self.arguments[name]]
            self._repeated[kernel] = partial(self.kernel(name)[name], *arguments)
        return self._repeated[kernel]

    def timer(self) -> Callable[[], float]:
        """A function that runs it and gives the time on the device in s."""
        evaluate = self._machine.time_evaluator(self._function, self.device, number=1)
        return lambda: float(evaluate(*self._inputs).median)

    def kernel(self, name: str) -> tvm.runtime.Module:
        """The module that holds a kernel.

        Raises:
            MeasurementError: None does.
        """
        for module in self._executable.mod.imports:
            if module.implements_function(name):
                return module
        raise MeasurementError(f"TVM built no kernel {name}")

    def run_on(self, arrays: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """Outputs for given inputs."""
        given = [tvm.runtime.tensor(np.ascontiguousarray(a), self.device) for a in arrays]
        found = self._main(*given)
        outputs = [found] if isinstance(found, tvm.runtime.Tensor) else list(found)
        return [output.numpy() for output in outputs]

    def run_watched(self, passes: int = 1) -> list[Call]:
        """Run under a watch; all calls in order."""
        if self._watched is None:  # a machine that is watched takes longer: it gets its own
            vm = relax.VirtualMachine(self._executable, tvm.cpu())
            self._watched = vm, KernelWatch(vm)
        vm, watch = self._watched
        main = vm[self._function]
        for _ in range(passes):
            main(*self._inputs)
        return watch.take()


class KernelWatch:
    """Times every kernel that a virtual machine calls, between its neighbours.

    The times hold what the watch itself takes: see `empty_calls_s`. Calls are to be taken by the
    thread that ran the machine.

    Args:
        vm: The machine; it is watched from now on.
    """

    def __init__(self, vm: relax.VirtualMachine) -> None:
        function = tvm_ffi.Function.__from_extern_c__(
            _core.watch_address(), keep_alive_object=self
        )
        vm.set_instrument(function)

    def take(self) -> list[Call]:
        """Kernel calls since the last take; the machine's own functions are left out."""
        names, rows = _core.take_call_times(id(self))
        own = {place for place, name in enumerate(names) if name.startswith(_BUILTIN)}
        return [
            (names[place], arguments, cpu, wall)
            for place, arguments, cpu, wall in rows.tolist()
            if place not in own
        ]


def time_networks(
    networks: Sequence[LoadedNetwork], *, warmup: int, passes: int
) -> tuple[Seconds, ...]:
    """Median time of each network in s, run in turns."""
    for _ in range(warmup):
        for network in networks:
            network.run()
    stamps = np.empty((passes, len(networks), 4), dtype=np.int64)
    for one_pass in stamps:
        for stamp, network in zip(one_pass, networks, strict=True):
            begin_wall = time.perf_counter_ns()
            begin = time.thread_time_ns()
            network.run()
            stamp[:] = (begin, time.thread_time_ns(), begin_wall, time.perf_counter_ns())
    seconds = 1e-9 * (stamps[:, :, 1::2] - stamps[:, :, 0::2])
    return tuple((float(cpu), float(wall)) for cpu, wall in np.median(seconds, axis=0))


def time_kernels(network: LoadedNetwork, *, warmup: int, passes: int) -> tuple[Seconds, ...]:
    """Median time of each kernel call of a network in s, in order, without the watch's share.

    The kernels run inside the network, with the caches as their predecessors leave them.
    """
    empty = empty_calls_s()
    network.run_watched(warmup)
    # A view that is a result of the network is copied by a function that is no kernel.
    wanted = set(network.names)
    calls = [call for call in network.run_watched(passes) if call[0] in wanted]
    times = np.array([call[2:] for call in calls], dtype=np.float64)
    if len(calls) != passes * len(network.kernels):
        raise MeasurementError(
            f"TVM called {len(calls)} kernels in {passes} runs of a network of "
            f"{len(network.kernels)}: its kernels cannot be told apart"
        )
    medians = np.median(times.reshape(passes, -1, 2), axis=0)
    arguments = [min(call[1], _MOST_ARGUMENTS) for call in calls[: len(network.kernels)]]
    return tuple(
        (max(_TICK_S, 1e-9 * cpu - empty[given][0]), max(_TICK_S, 1e-9 * wall - empty[given][1]))
        for (cpu, wall), given in zip(medians.tolist(), arguments, strict=True)
    )


@lru_cache(maxsize=1)
def empty_calls_s() -> dict[int, Seconds]:
    """What a watched call that adds two numbers takes, in s, by its number of arguments."""
    builder = relax.BlockBuilder()
    one = relax.TensorType((1,), "float32")
    x = relax.Var("x", one)
    with builder.function("main", [x]):
        with builder.dataflow():
            last: relax.Expr = x
            for given in range(2, _MOST_ARGUMENTS + 1):
                where = builder.add_func(_first_plus_second(given), f"empty{given}")
                call = relax.call_tir(where, [last, *[x] * (given - 2)], one)
                last = builder.emit(call)
            output = builder.emit_output(last)
        builder.emit_func_output(output)
    target = tvm.target.Target({"kind": "llvm", "num-cores": 1})
    network = LoadedNetwork(tvm.compile(builder.get(), target=target), [((1,), "float32")])
    calls = network.run_watched(_EMPTY_PASSES)
    times = np.array([call[2:] for call in calls], dtype=np.float64)
    medians = 1e-9 * np.median(times.reshape(_EMPTY_PASSES, -1, 2), axis=0)
    arguments = [call[1] for call in calls]
    found = {n: (cpu, wall) for n, (cpu, wall) in zip(arguments, medians.tolist(), strict=False)}
    return {n: found.get(n, found[max(found)]) for n in range(_MOST_ARGUMENTS + 1)}


def _first_plus_second(arguments: int) -> tvm.tirx.PrimFunc:
    """A function of so many arguments, the last of them its result."""
    inputs = [tvm.te.placeholder((1,), "float32", f"a{i}") for i in range(arguments - 1)]
    second = inputs[min(1, len(inputs) - 1)]
    result = tvm.te.compute((1,), lambda i: inputs[0][i] + second[i], "sum")
    return tvm.te.create_prim_func([*inputs, result]).without_attr("global_symbol")
