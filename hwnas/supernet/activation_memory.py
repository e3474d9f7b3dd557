"""Peak memory of a training step, counted tensor by tensor.

Every result of every operator is watched from its making to its freeing, in the forward and in the
backward pass, whoever keeps it: autograd, a closure or a local variable. So what is computed
without a graph counts as well. The number is a property of the program, not of the machine's
allocator: scratch memory inside an operator is not in it.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, UntypedStorage
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["peak_step_bytes"]


def peak_step_bytes(step: Callable[[], object]) -> int:
    """Largest sum of bytes, at any moment, of tensors that a step makes and frees again.

    Weights, images and whatever else was there before do not count, nor do gradients and other
    results that outlive the step; views share the bytes of what they view. Counted after each
    operator, when its operands and its result are both there.

    Args:
        step: Runs a forward and a backward pass in the calling thread.
    """
    watch = _Watch()
    with watch:
        result = step()
    watch.look()
    del result
    return watch.peak()


class _Reference:
    """Whether a storage is still there, without keeping it."""

    def __init__(self, storage: UntypedStorage) -> None:
        self._weak: Any = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        self.key: int = self._weak.cdata

    @property
    def is_gone(self) -> bool:
        return bool(self._weak.expired())


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Lives of storages, in units of operators."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._live: dict[int, tuple[_Reference, int, int]] = {}  # pointer: birth, bytes
        self._old: dict[int, _Reference] = {}
        self._lives: list[tuple[int, int, int]] = []  # birth, first moment after it, bytes
        self._moment = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        del types
        for value in tree_leaves((args, kwargs)):
            if isinstance(value, Tensor):
                self._note_operand(value)
        result = func(*args, **(kwargs or {}))
        self.look()
        for value in tree_leaves(result):
            if isinstance(value, Tensor):
                self._note_result(value)
        return result

    def look(self) -> None:
        """Note which storages are gone, and go on to the next moment."""
        gone = [key for key, (reference, _, _) in self._live.items() if reference.is_gone]
        for key in gone:
            _, birth, size = self._live.pop(key)
            self._lives.append((birth, self._moment + 1, size))
        self._old = {key: ref for key, ref in self._old.items() if not ref.is_gone}
        self._moment += 1

    def peak(self) -> int:
        """Largest sum of the bytes of those that are gone by now."""
        change = [0] * (self._moment + 2)
        for birth, end, size in self._lives:
            change[birth] += size
            change[end] -= size
        level = most = 0
        for step in change:
            level += step
            most = max(most, level)
        return most

    def _note_operand(self, value: Tensor) -> None:
        reference = _Reference(value.untyped_storage())
        if reference.key not in self._live:
            self._old.setdefault(reference.key, reference)

    def _note_result(self, value: Tensor) -> None:
        storage = value.untyped_storage()
        reference = _Reference(storage)
        if reference.key not in self._live and reference.key not in self._old:
            self._live[reference.key] = (reference, self._moment, storage.nbytes())
