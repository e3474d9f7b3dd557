"""State of a search as plain arrays and numbers, and the file it is kept in.

A file is an uncompressed `.npz`, replaced wholly or not at all, so that a killed run leaves the
previous one whole. Reading runs no code: pickled arrays are refused, and the size that each array
claims is checked against the bytes that are there.
"""

import json
import math
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hwnas.atomic_files import replace_file
from hwnas.errors import RunError

__all__ = ["State", "generator_state", "load_state", "restore_generator", "save_state"]

State = dict[str, np.ndarray | int | float | str]

#: Largest checkpoint that is read, in bytes: 2^22 remembered rows and as much history fit many
#: times over.
LARGEST_CHECKPOINT_BYTES = 1 << 33


def generator_state(rng: np.random.Generator) -> str:
    """Returns all that decides what the generator draws next, as JSON.

    Args:
        rng: Generator on any of NumPy's own bit generators.
    """
    return json.dumps(rng.bit_generator.state, default=_listed, sort_keys=True)


def restore_generator(rng: np.random.Generator, state: str) -> None:
    """Makes the generator go on from where `generator_state` was taken.

    Args:
        rng: Generator on the same kind of bit generator; changed in place.
        state: What `generator_state` returned.

    Raises:
        RunError: If the state is malformed or of another kind of bit generator.
    """
    try:
        values = json.loads(state, object_hook=_with_arrays)
        kind = values["bit_generator"]
    except (ValueError, TypeError, KeyError):
        raise RunError("the random state is not one that hwnas wrote; start afresh") from None
    wanted = type(rng.bit_generator).__name__
    if kind != wanted:
        raise RunError(f"the random state is of {kind}, this run uses {wanted}; start afresh")
    try:
        rng.bit_generator.state = values
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise RunError(f"the random state is malformed ({error}); start afresh") from None


def save_state(path: Path, state: State) -> None:
    """Writes the state to `path`, wholly or not at all.

    Args:
        path: File to write or replace; its folder exists.
        state: Arrays of numbers, numbers and strings by name.

    Raises:
        RunError: The disk is full or the file cannot be written.
    """

    def write(file: BinaryIO) -> None:
        # The stub has one keyword of its own, which no name of a state is.
        np.savez(file, allow_pickle=False, **{k: np.asarray(v) for k, v in state.items()})

    replace_file(path, write)


def load_state(path: Path) -> State:
    """Returns the state that `save_state` wrote.

    Args:
        path: File to read; it is not trusted.

    Raises:
        RunError: If the file is missing, not a checkpoint, or larger than it may be.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(archive)
        with np.load(path, allow_pickle=False) as arrays:
            return {name: _plain(arrays[name]) for name in arrays.files}
    except Exception as error:
        # On a hostile file zipfile, its codecs and NumPy's header parser raise almost anything.
        text = " ".join(str(error).split())[:300]
        raise RunError(f"cannot read checkpoint {path}: {text}; start afresh") from None


def _check_sizes(archive: zipfile.ZipFile) -> None:
    if sum(entry.file_size for entry in archive.infolist()) > LARGEST_CHECKPOINT_BYTES:
        raise ValueError(f"it unpacks to more than {LARGEST_CHECKPOINT_BYTES} bytes")
    for entry in archive.infolist():
        with archive.open(entry) as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"entry {entry.filename} is of an unknown version")
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if dtype.kind not in "biufU" or math.prod(shape) * dtype.itemsize > entry.file_size:
            raise ValueError(f"entry {entry.filename} claims {shape} of {dtype}")


def _plain(array: np.ndarray) -> np.ndarray | int | float | str:
    if array.ndim:
        return array
    value: int | float | str = array.item()
    return value


def _listed(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.name, "values": value.tolist()}
    raise TypeError(f"cannot write {type(value)}")


def _with_arrays(values: dict[str, Any]) -> Any:
    if values.keys() == {"dtype", "values"} and values["dtype"] in ("uint32", "uint64"):
        return np.array(values["values"], dtype=values["dtype"])
    return values
