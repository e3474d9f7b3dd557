"""The dictionary of a pickle, read as data: nothing is imported, looked up or called.

A pickle is a program for a small stack machine. `pickletools.genops` splits it into opcodes and
acts on none of them. Here a fixed list of opcodes is acted on, which can build numbers, strings,
lists, tuples and dictionaries. A global name stays text; of those only the names that NumPy writes
around an array are known, and what they stand for is written out below. Everything else is
refused by its name.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from hwnas.errors import DataError

__all__ = ["MAX_OPCODES", "read_pickled_dict"]

MAX_OPCODES = 1_000_000  # a batch of 50,000 images has 200,000
MAX_DIMENSIONS = 4
MAX_COPIES = 4  # bytes that are made of strings, for each byte of the content

_RECONSTRUCT = frozenset(
    {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"}
)
_ARRAY = "numpy ndarray"
_DTYPE = "numpy dtype"
_ENCODE = "_codecs encode"  # bytes, where Python 3 writes for Python 2
_NAMES = _RECONSTRUCT | {_ARRAY, _DTYPE, _ENCODE}


@dataclass(frozen=True)
class _Name:
    """A global, as its module and name; it is never resolved."""

    text: str


@dataclass(frozen=True)
class _Uint8:
    """The one type of array that is read."""


@dataclass(eq=False)
class _Array:
    """An array whose content follows in the stream."""

    values: npt.NDArray[np.uint8] | None = None


def read_pickled_dict(content: bytes, what: str) -> dict[str, Any]:
    """Entries of a pickled dictionary, of protocol 2 or 3.

    Strings of Python 2 become str with one character a byte. Memory stays within a small multiple
    of the content's size.

    Args:
        content: The whole pickle; its size is bounded by the caller.
        what: Name of it in messages.

    Returns:
        Numbers, strings, lists, tuples, dictionaries and uint8 arrays by key; keys that are bytes
        are decoded.

    Raises:
        DataError: The pickle is cut short or malformed, needs anything but the above, has more
            than `MAX_OPCODES` opcodes, or is not of a dictionary.
    """
    machine = _Machine(what, MAX_COPIES * len(content))
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(content)):
            if count >= MAX_OPCODES:
                raise DataError(f"{what} is a pickle of more than {MAX_OPCODES} opcodes")
            machine.act(opcode.name, argument)
        found = machine.stack.pop()
    except DataError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{what} is not a well-formed pickle: {error}") from error
    if not isinstance(found, dict):
        raise DataError(f"{what} is a pickled {type(found).__name__}; a dict is expected")
    return {
        key: value.values if isinstance(value, _Array) else value for key, value in found.items()
    }


class _Machine:
    """Stack, marks and memo of a pickle, with the few opcodes that make data."""

    def __init__(self, what: str, budget: int) -> None:
        self.what = what
        self.budget = budget  # the memo could have one long string copied again and again
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stack under each open mark
        self.memo: dict[int, Any] = {}

    def act(self, name: str, argument: Any) -> None:
        if name in _IGNORED:
            return
        if name in _PUSHED:
            self.stack.append(argument)
        elif name in _MADE:
            self.stack.append(_MADE[name]())
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        else:
            raise DataError(
                f"{self.what} is a pickle with opcode {name}, which plain data of protocol 2 "
                "does not need; it is not read"
            )

    def mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def popped(self, count: int | None = None) -> list[Any]:
        """The values above the last mark, or the last `count` ones."""
        if count is None:
            items = self.stack
            self.stack = self.below.pop()
            return items
        if len(self.stack) < count:
            raise IndexError("a value is missing on the stack")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def push_name(self, text: str) -> None:
        if text not in _NAMES:
            raise DataError(
                f"{self.what} is a pickle that asks for {text.replace(' ', '.')[:80]!r}, which "
                "could run code; nothing was run, the file is not read"
            )
        self.stack.append(_Name(text))

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise TypeError(f"items are appended to a {type(target).__name__}")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(items) % 2:
            raise TypeError(f"{len(items)} keys and values are set in a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str | bytes):  # hashing a deep tuple would exhaust the C stack
                raise TypeError(f"a key is a {type(key).__name__}")
            target[self.as_bytes(key).decode("latin-1")] = value

    def reduce(self, _: Any) -> None:
        function, arguments = self.popped(2)
        if not isinstance(function, _Name) or not isinstance(arguments, tuple):
            raise TypeError(f"a {type(function).__name__} is called")
        if function.text in _RECONSTRUCT and arguments[0] == _Name(_ARRAY):
            self.stack.append(_Array())
        elif function.text == _DTYPE and self.is_one_of(arguments[0], "u1", "|u1"):
            self.stack.append(_Uint8())
        elif function.text == _ENCODE and self.is_one_of(arguments[1], "latin1", "latin-1"):
            self.stack.append(self.as_bytes(arguments[0]))
        elif function.text == _DTYPE:
            raise DataError(f"{self.what} holds an array that is not of type uint8")
        else:
            raise TypeError(f"{function.text.replace(' ', '.')} is called with other arguments")

    def build(self, _: Any) -> None:
        state = self.popped(1)[0]
        target = self.stack[-1]
        if isinstance(target, _Array):
            _, shape, dtype, fortran, content = state
            target.values = _array(shape, dtype, bool(fortran), self.as_bytes(content))
        elif not isinstance(target, _Uint8):  # the state of uint8 says nothing: one byte a value
            raise TypeError(f"a {type(target).__name__} is given a state")

    def as_bytes(self, value: object) -> bytes:
        if not isinstance(value, str | bytes):
            raise TypeError(f"a {type(value).__name__} stands where a string is needed")
        self.budget -= len(value)
        if self.budget < 0:
            raise DataError(f"{self.what} is a pickle that copies its strings; it is not read")
        return value.encode("latin-1") if isinstance(value, str) else value

    def is_one_of(self, value: object, *texts: str) -> bool:
        return self.as_bytes(value).decode("latin-1") in texts


_IGNORED = frozenset({"PROTO", "STOP"})
_PUSHED = frozenset(
    {"BININT", "BININT1", "BININT2", "INT"}
    | {"BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "BINBYTES", "SHORT_BINBYTES"}
)
_MADE: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
}
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "GLOBAL": _Machine.push_name,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "TUPLE": lambda machine, _: machine.push(tuple(machine.popped())),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.popped(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.popped(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.popped(3))),
    "APPEND": lambda machine, _: machine.append(machine.popped(1)),
    "APPENDS": lambda machine, _: machine.append(machine.popped()),
    "SETITEM": lambda machine, _: machine.set_items(machine.popped(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.popped()),
}


def _array(shape: object, dtype: object, fortran: bool, content: bytes) -> npt.NDArray[np.uint8]:
    if not isinstance(shape, tuple) or not 1 <= len(shape) <= MAX_DIMENSIONS:
        raise TypeError("an array's shape is not a short tuple")
    if not isinstance(dtype, _Uint8) or not all(isinstance(n, int) and n > 0 for n in shape):
        raise TypeError("an array has another type, or a shape that is not positive")
    if prod(shape) != len(content):
        raise ValueError(f"an array claims {prod(shape)} bytes and brings {len(content)}")
    flat = np.frombuffer(content, dtype=np.uint8)
    return flat.reshape(shape, order="F" if fortran else "C")
