"""What TVM compiles and times on this machine, whether its processor or its GPU runs it."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx

from hwnas.backends.backend import Executable
from hwnas.backends.tvm_kernels import (
    TvmKernels,
    batch_of,
    code_target,
    file_bytes,
    model_bytes,
)
from hwnas.errors import MeasurementError
from hwnas.graph import Graph
from hwnas.lowering import Weights
from hwnas.progress import Progress, silent
from hwnas.targets import Target
from hwnas.tvm_worker import TvmWorker
from hwnas.tvm_worker.messages import (
    Array,
    BuildNetworks,
    Built,
    BuiltNetworks,
    Release,
    Repeat,
    Repeated,
    Results,
    Run,
    Time,
    Timed,
    TimeKernels,
)

__all__ = ["TvmBench", "TvmExecutable", "TvmKernel", "TvmLocal"]

# A message and its answer take 0.5 ms (median of 300 on two cores of an AMD EPYC), in which a GPU
# idles; an energy counter moves every 100 ms.
_TURN_S = 0.02


class TvmExecutable:
    """A network in the TVM process.

    Args:
        worker: The process.
        built: What it said of the network.
    """

    def __init__(self, worker: TvmWorker, built: Built) -> None:
        self._worker = worker
        self.handle = built.handle
        self.kernels = built.kernels

    def run(self) -> None:
        """Run once."""
        self._worker.request(Time((self.handle,), warmup=0, passes=1), Timed)

    def repeat(self) -> int:
        """Run again and again for some 20 ms without a gap; the number of runs."""
        return self._worker.request(Repeat(self.handle, "", _TURN_S), Repeated).runs

    def kernel(self, key: str) -> "TvmKernel":
        """One of its kernels by itself."""
        return TvmKernel(self._worker, self.handle, key)

    def results(self, inputs: Sequence[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.generic]]:
        """Outputs for given inputs."""
        arrays = tuple(Array.of(array) for array in inputs)
        outputs = self._worker.request(Run(self.handle, arrays), Results).outputs
        return [output.numpy() for output in outputs]

    def release(self) -> None:
        """Let the TVM process forget it."""
        self._worker.forget(Release((self.handle,)))


class TvmKernel:
    """A kernel of a network in the TVM process, to be run alone.

    Args:
        worker: The process.
        handle: Of the network.
        key: Of the kernel.
    """

    def __init__(self, worker: TvmWorker, handle: int, key: str) -> None:
        self._worker = worker
        self._handle = handle
        self._key = key

    def run(self) -> None:
        """Run at least once."""
        self._worker.request(Repeat(self._handle, self._key, 0.0), Repeated)

    def repeat(self) -> int:
        """Run again and again for some 20 ms without a gap; the number of runs."""
        return self._worker.request(Repeat(self._handle, self._key, _TURN_S), Repeated).runs


class TvmLocal(TvmKernels):
    """Networks in the TVM process; the base of backends."""

    model_suffix = ".onnx"

    def compile(self, graph: Graph, weights: Weights, target: Target) -> TvmExecutable:
        """A network of tuned kernels; those that no profile has seen are tuned now.

        Raises:
            LoweringError: TVM does not take an operator.
            TargetError: No code can be made for the target.
            MeasurementError: Kernels are left without a tuning record.
        """
        model = model_bytes(graph, weights, batch_of(target))
        return self._compile({graph.name: model}, target)[graph.name]

    def compile_model(
        self, model: onnx.ModelProto | Path, target: Target, *, progress: Progress = silent
    ) -> TvmExecutable:
        """The same for a finished ONNX model or file; a free batch size becomes the target's.

        Raises:
            LoweringError: It is no model, or TVM does not take it.
            TargetError: No code can be made for the target.
            MeasurementError: Kernels are left without a tuning record.
        """
        content = file_bytes(model, batch_of(target))
        return self._compile({"model": content}, target, progress)["model"]

    def _compile(
        self, models: Mapping[str, bytes], target: Target, progress: Progress = silent
    ) -> dict[str, TvmExecutable]:
        worker = self._worker(target)
        request = BuildNetworks(dict(models), code_target(target), self._database())
        found = self._tuned(
            lambda: worker.request(request, BuiltNetworks, progress=progress),
            ", ".join(models),
            target,
            progress,
        )
        return {name: TvmExecutable(worker, built) for name, built in found.networks.items()}

    def sample(
        self, chain: Sequence[Executable], target: Target, *, warmup: int, passes: int
    ) -> npt.NDArray[np.float64]:
        """Timed in the TVM process: thread CPU time for one thread, wall time for more.

        A GPU's own clock takes the place of both.
        """
        handles = tuple(member.handle for member in chain if isinstance(member, TvmExecutable))
        if len(handles) != len(chain):
            raise MeasurementError("an executable of another backend is in the chain")
        timed = self._worker(target).request(Time(handles, warmup, passes), Timed)
        return _by_clock(timed, target)

    def open_bench(
        self,
        networks: Mapping[str, tuple[Graph, Weights]],
        kernels: Collection[str],
        target: Target,
        rng: np.random.Generator,
        *,
        progress: Progress = silent,
    ) -> "TvmBench":
        """Compile the networks; kernels are timed inside them, or on a GPU each alone."""
        batch = batch_of(target)
        models = {name: model_bytes(*network, batch) for name, network in networks.items()}
        compiled = self._compile(models, target, progress)
        return TvmBench(self, self._worker(target), compiled, kernels, target, rng)

    def _database(self) -> str | None:
        """Folder of tuning records; None where kernels need none."""
        return str(self._records())


class TvmBench:
    """Networks and kernels on this machine.

    Args:
        backend: Samples whole networks.
        worker: Where the networks are.
        networks: By name.
        kernels: Keys that are timed one by one.
        target: The device.
        rng: Draws among networks that are needed alike.
    """

    def __init__(
        self,
        backend: TvmLocal,
        worker: TvmWorker,
        networks: Mapping[str, TvmExecutable],
        kernels: Collection[str],
        target: Target,
        rng: np.random.Generator,
    ) -> None:
        self._backend = backend
        self._worker = worker
        self._networks = networks
        self._kernels = set(kernels)
        self._target = target
        self._rng = rng
        self._samples: Counter[str] = Counter()

    def round(
        self, needy: Collection[str], *, warmup: int, passes: int
    ) -> Iterator[tuple[Sequence[str], npt.NDArray[np.float64]]]:
        """The kernels of a network that holds the rarest needy one, and a needy whole network.

        Of such networks it is the one with most needy kernels. A kernel that a network calls
        several times gives the mean of its calls.
        """
        wanted = set(needy)
        names = list(self._networks)
        order = [names[i] for i in self._rng.permutation(len(names))]
        held = {n: wanted.intersection(self._networks[n].kernels) for n in order}
        rarest = min(set().union(*held.values()), key=self._samples.__getitem__, default="")
        name = max(order, key=lambda n: (rarest in held[n], len(held[n])))
        network = self._networks[name]
        timed = self._worker.request(TimeKernels(network.handle, warmup, passes), Timed)
        calls: dict[str, list[npt.NDArray[np.float64]]] = defaultdict(list)
        for key, seconds in zip(network.kernels, _by_clock(timed, self._target), strict=True):
            if key in self._kernels:
                calls[key].append(seconds)
        self._samples.update(calls.keys())
        if calls:
            yield list(calls), np.array([np.mean(found, axis=0) for found in calls.values()])
        name = next((n for n in order if n in wanted), order[0])
        executable = self._networks[name]
        yield (
            [name],
            self._backend.sample([executable], self._target, warmup=warmup, passes=passes),
        )

    def executable(self, name: str) -> TvmExecutable | TvmKernel:
        """A network by its name, or a kernel by its key."""
        if name in self._networks:
            return self._networks[name]
        return next(n.kernel(name) for n in self._networks.values() if name in n.kernels)

    def close(self) -> None:
        """Let the TVM process forget the networks."""
        handles = tuple(network.handle for network in self._networks.values())
        self._worker.forget(Release(handles))


def _by_clock(timed: Timed, target: Target) -> npt.NDArray[np.float64]:
    """`(n, 2)`: the clock that counts, and wall time."""
    seconds = np.array(timed.seconds, dtype=np.float64).reshape(-1, 2)
    return seconds if target.runtime.threads == 1 else seconds[:, [1, 1]]
