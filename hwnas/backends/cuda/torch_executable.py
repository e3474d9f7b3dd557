"""A network or block on a GPU: compiled programs one after another, on buffers of the device."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hwnas.backends.backend import BlockExecutable
from hwnas.backends.chaining import Written, choose_inputs
from hwnas.backends.cuda.device_clock import DeviceClock, Recording
from hwnas.backends.cuda.input_rotation import InputRotation
from hwnas.backends.cuda.torch_programs import Program, TensorForm
from hwnas.errors import LoweringError

__all__ = ["Call", "TorchExecutable", "chained"]

_COPIES_S = 1e-3  # work in one recording that is run again and again
_MOST_COPIES = 256
_TURN_S = 0.005  # between two waits: short against the 100 ms in which an energy counter moves


@dataclass(frozen=True, eq=False)
class Call:
    """One program with its weights.

    Args:
        program: The program.
        reads: Names of its inputs.
        writes: Names of its results.
        weights: Its weights, on the device.
    """

    program: Program
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    weights: tuple[Tensor, ...]


class TorchExecutable:
    """Programs that run one after another.

    Args:
        calls: The programs.
        inputs: Shapes of the inputs by name, the batch included.
        outputs: Names of the results.
        clock: The device.
        rotation: Where inputs come from that nothing else writes.
        form: How tensors lie in memory.
        network: Of a block, the network that it is cut from.
        branches: Whether blocks of that network read others than the one before them.
    """

    def __init__(
        self,
        calls: Sequence[Call],
        inputs: Mapping[str, tuple[int, ...]],
        outputs: Sequence[str],
        clock: DeviceClock,
        rotation: InputRotation,
        form: TensorForm,
        *,
        network: object = None,
        branches: bool = False,
    ) -> None:
        self._calls = calls
        self._inputs = dict(inputs)
        self._outputs = tuple(outputs)
        self._clock = clock
        self._rotation = rotation
        self._form = form
        self._recordings: dict[tuple[int, int], Recording] = {}
        self._network = network
        self._branches = branches
        self.follows = False

    @torch.no_grad()
    def execute(self, given: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Start all programs, and do not wait for them.

        Args:
            given: Inputs by name; the others come from the rotation.

        Returns:
            Results by name.
        """
        values = dict(given or {})
        for name, shape in self._inputs.items():
            if name not in values:
                values[name] = self._rotation.next(shape)
        for call in self._calls:
            found = call.program(*(values[name] for name in call.reads), *call.weights)
            values.update(zip(call.writes, found, strict=True))
        return {name: values[name] for name in self._outputs}

    def run(self) -> None:
        """Launch once as a CUDA graph, and wait."""
        self._once(1)

    def repeat(self) -> int:
        """Run again and again for about 5 ms without a gap; the number of runs."""
        copies, runs = self._many
        turns = max(1, round(_TURN_S / (copies * self._usual_s)))
        runs(turns)
        return turns * copies

    def record(self, warmup: int, passes: int) -> Recording:
        """The executable alone, recorded once for each number of passes."""
        key = (warmup, passes)
        if key not in self._recordings:
            self._recordings[key] = self._clock.record(
                [self.execute], warmup=warmup, passes=passes
            )
        return self._recordings[key]

    def follow(self, previous: BlockExecutable | None) -> None:
        """Read what blocks before it in the chain write, where it fits; None ends that."""
        self.follows = previous is not None

    def fitting(self, earlier: Sequence[Sequence[Written[Tensor]]]) -> dict[str, Tensor]:
        """Inputs among the results of earlier blocks, nearest first."""
        reach = earlier if self._branches else earlier[:1]
        written = [each for results in reach for each in results]
        chosen = choose_inputs(self._inputs, self._network, written)
        return {name: each.value for name, each in chosen.items()}

    def written(self, results: Mapping[str, Tensor]) -> list[Written[Tensor]]:
        """Results of a run, as blocks that follow read them."""
        return [
            Written(self._network, name, tuple(value.shape), value)
            for name, value in results.items()
        ]

    def results(self, *inputs: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """Results in float32 for inputs of the batch that it is compiled for.

        Raises:
            LoweringError: Another number or shape of inputs.
        """
        shapes = [array.shape for array in inputs]
        if shapes != list(self._inputs.values()):
            raise LoweringError(f"inputs are {shapes}, not {list(self._inputs.values())}")
        given = {
            name: self._form.of(torch.from_numpy(array).to(self._clock.device))
            for name, array in zip(self._inputs, inputs, strict=True)
        }
        found = self.execute(given)
        return [found[name].float().cpu().contiguous().numpy() for name in self._outputs]

    @cached_property
    def _once(self) -> Callable[[int], None]:
        return self._clock.repeated(self.execute, 1)

    @cached_property
    def _usual_s(self) -> float:
        return max(1e-7, float(np.median(self.record(2, 3).replay())))

    @cached_property
    def _many(self) -> tuple[int, Callable[[int], None]]:
        copies = min(_MOST_COPIES, 1 + int(_COPIES_S / self._usual_s))
        return copies, self._clock.repeated(self.execute, copies)


def chained(chain: Sequence[TorchExecutable]) -> list[Callable[[], None]]:
    """The members of a chain as work, in which those that follow read what those before write.

    The list is run in order, any number of times.
    """
    written: list[Sequence[Written[Tensor]]] = []

    def work(position: int, member: TorchExecutable) -> Callable[[], None]:
        def run() -> None:
            del written[position:]  # of the pass before
            given = member.fitting(written[::-1]) if member.follows else {}
            written.append(member.written(member.execute(given)))

        return run

    return [work(position, member) for position, member in enumerate(chain)]
