"""Torch on a GPU: blocks by `torch.compile`, networks as one CUDA graph of them."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hwnas.backends.backend import Availability, Executable
from hwnas.backends.cuda.availability import gpu_here
from hwnas.backends.cuda.device_clock import CudaClock, DeviceClock
from hwnas.backends.cuda.input_rotation import InputRotation
from hwnas.backends.cuda.torch_executable import Call, TorchExecutable, chained
from hwnas.backends.cuda.torch_programs import ProgramCache, TensorForm, tensor_form, weights_of
from hwnas.errors import LoweringError, MeasurementError
from hwnas.graph import Graph, shape_of
from hwnas.graph.split import Piece, is_branching, split_blocks
from hwnas.lowering import Weights
from hwnas.lowering.fold_batch_norm import fold_batch_norm
from hwnas.lowering.model_graph import graph_of_file
from hwnas.progress import Progress, silent
from hwnas.targets import Target

__all__ = ["TorchCudaBackend"]

_BUILD = "install torch as built for CUDA, from pytorch.org"


class TorchCudaBackend:
    """Backend of GPU targets whose runtime is `torch`.

    Latency is time on the device, by its own clock; what the launch from the host adds is measured
    apart (`launch_s`). Costs are those of a batch.

    Args:
        clock: The device; that of CUDA by default.
        programs: Compiled blocks; by default those of this process.
    """

    name = "cuda"
    model_suffix = ".onnx"

    def __init__(
        self, clock: DeviceClock | None = None, programs: ProgramCache | None = None
    ) -> None:
        self._given_clock = clock
        self._programs = programs or _shared_programs()
        self._rotations: dict[TensorForm, InputRotation] = {}

    def is_available(self, target: Target) -> Availability:
        """Whether the target's GPU is here and torch is built for it."""
        missing = gpu_here(target)
        if missing is not None:
            return missing
        if not torch.cuda.is_available():
            return Availability(False, f"torch {torch.__version__} sees no GPU", _BUILD)
        if target.runtime.precision == "bfloat16" and not torch.cuda.is_bf16_supported():
            return Availability(False, "the GPU has no bfloat16", "--dtype fp16")
        return Availability(True, f"{torch.cuda.get_device_name()}, {self.runtime(target)}")

    def runtime(self, target: Target) -> str:  # noqa: ARG002 (the contract gives it)
        """Versions of torch, CUDA and cuDNN."""
        cudnn = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        return f"torch {torch.__version__} cuda {torch.version.cuda} cudnn {cudnn}"

    def compile(self, graph: Graph, weights: Weights, target: Target) -> TorchExecutable:
        """A network whose batch normalisations are folded, compiled block by block.

        Raises:
            LoweringError: Torch does not take an operator, or cannot compile a block.
        """
        folded, values = fold_batch_norm(graph, weights)
        calls = [call for _, call in self._calls(folded, values, target)]
        return self._executable(folded, calls, target)

    def compile_model(
        self,
        model: Path,
        target: Target,
        *,
        progress: Progress = silent,  # noqa: ARG002 (the contract gives it)
    ) -> TorchExecutable:
        """The same for an ONNX file, which is compiled as a whole where it names no blocks.

        Raises:
            LoweringError: It is no ONNX model, or torch does not take an operator.
        """
        return self.compile(*graph_of_file(model), target)

    def compile_blocks(
        self, graph: Graph, weights: Weights, blocks: Collection[str], target: Target
    ) -> Mapping[str, TorchExecutable]:
        """The programs of blocks, each with example inputs of its own.

        A block whose operators do not follow each other is left out.
        """
        folded, values = fold_batch_norm(graph, weights)
        branches = is_branching(folded)
        calls = self._calls(folded, values, target)
        pieces = Counter(piece.block for piece, _ in calls)
        return {
            piece.block: self._executable(
                piece.graph, [call], target, network=folded, branches=branches
            )
            for piece, call in calls
            if piece.block in blocks and pieces[piece.block] == 1
        }

    def sample(
        self, chain: Sequence[Executable], target: Target, *, warmup: int, passes: int
    ) -> npt.NDArray[np.float64]:
        """Seconds on the device, in both columns: it has one clock."""
        members = [member for member in chain if isinstance(member, TorchExecutable)]
        if len(members) != len(chain):
            raise MeasurementError("an executable of another backend is in the chain")
        self._set_tf32(tensor_form(target.runtime.precision))
        if len(members) == 1 and not members[0].follows:
            recording = members[0].record(warmup, passes)
        else:
            recording = self._clock.record(chained(members), warmup=warmup, passes=passes)
        median = np.median(recording.replay(), axis=0)
        return np.stack([median, median], axis=1)

    def launch_s(self, executable: Executable, repeats: int = 50) -> npt.NDArray[np.float64]:
        """What a launch takes beside the work, as the host sees it; samples `(repeats,)` in s."""
        if not isinstance(executable, TorchExecutable):
            raise MeasurementError("an executable of another backend")
        inside = float(np.median(executable.record(2, 3).replay()))
        executable.run()
        samples = np.empty(repeats)
        for i in range(repeats):
            begin = perf_counter()
            executable.run()
            samples[i] = perf_counter() - begin - inside
        return samples

    # Private -----------------------------------------------------------------------------------

    @cached_property
    def _clock(self) -> DeviceClock:
        return self._given_clock or _shared_clock()

    def _set_tf32(self, form: TensorForm) -> None:
        torch.backends.cuda.matmul.allow_tf32 = form.tf32
        torch.backends.cudnn.allow_tf32 = form.tf32
        torch.backends.cudnn.benchmark = True  # the fastest algorithm, as in production

    def _rotation(self, form: TensorForm) -> InputRotation:
        if form not in self._rotations:
            clock = self._clock
            self._rotations[form] = InputRotation(
                clock.device, clock.l2_bytes, form.dtype, form.memory_format
            )
        return self._rotations[form]

    @torch.no_grad()
    def _calls(self, graph: Graph, weights: Weights, target: Target) -> list[tuple[Piece, Call]]:
        """Pieces and their programs in the order in which they run."""
        form = tensor_form(target.runtime.precision)
        self._set_tf32(form)
        rotation = self._rotation(form)
        values = {
            value.name or "": rotation.next(_with_batch(shape_of(value), target))
            for value in graph.inputs
        }
        calls = []
        for piece in split_blocks(graph):
            inputs = [values[name] for name in piece.reads]
            taken = tuple(
                form.of(torch.from_numpy(np.array(weights[name])).to(self._clock.device))
                for name in weights_of(piece.graph)
            )
            program = self._programs.program(piece, inputs, taken)
            values.update(zip(piece.writes, program(*inputs, *taken), strict=True))
            calls.append((piece, Call(program, piece.reads, piece.writes, taken)))
        return calls

    def _executable(
        self, graph: Graph, calls: Sequence[Call], target: Target, **cut: Any
    ) -> TorchExecutable:
        form = tensor_form(target.runtime.precision)
        return TorchExecutable(
            calls,
            {v.name or "": _with_batch(shape_of(v), target) for v in graph.inputs},
            [value.name or "" for value in graph.outputs],
            self._clock,
            self._rotation(form),
            form,
            **cut,
        )


@lru_cache(maxsize=1)
def _shared_programs() -> ProgramCache:
    return ProgramCache()


@lru_cache(maxsize=1)
def _shared_clock() -> CudaClock:
    return CudaClock()


def _with_batch(shape: tuple[int, ...], target: Target) -> tuple[int, ...]:
    """A shape for one input as that of a batch.

    Raises:
        LoweringError: The value does not begin with a batch of one.
    """
    batch = 1 if target.gpu is None else target.gpu.batch
    if batch == 1:
        return shape
    if not shape or shape[0] != 1:
        raise LoweringError(
            f"an input of shape {shape} cannot be given in batches: its first axis is no batch "
            "of 1"
        )
    return (batch, *shape[1:])
