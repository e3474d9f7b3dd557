"""State of a training run in one file, replaced in one step, read without running code."""

import io
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwnas.atomic_files import replace_file
from hwnas.errors import RunError

__all__ = ["load_training", "load_weights", "save_training"]

FORMAT = 1
_MISREAD = (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.PickleError)


def save_training(
    path: Path,
    identity: Mapping[str, str],
    module: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
    rng: np.random.Generator,
    rows: list[dict[str, float]],
) -> None:
    """Write everything that the rest of a training run depends on.

    The file is complete at any moment: the old one stays until the new one is whole.

    Args:
        path: The file.
        identity: What the run is of: space, data set, recipe.
        module: Network.
        optimiser: Optimiser.
        generator: Source of chance in torch.
        rng: Source of chance in NumPy.
        rows: Metrics of the epochs so far.

    Raises:
        RunError: The disk is full or the file cannot be written.
    """
    state = {
        "format": FORMAT,
        "identity": dict(identity),
        "module": module.state_dict(),
        "optimiser": optimiser.state_dict(),
        "generator": generator.get_state(),
        "rng": json.dumps(rng.bit_generator.state, default=_plain),
        "rows": rows,
    }
    # Encoded in memory: torch turns what the disk refuses into a RuntimeError of its own.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    replace_file(path, lambda file: file.write(buffer.getbuffer()))


def load_training(
    path: Path,
    identity: Mapping[str, str],
    module: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    generator: torch.Generator,
    rng: np.random.Generator,
) -> list[dict[str, float]]:
    """Restore a run in place.

    Args:
        path: The file.
        identity: What the run must be of.
        module: Network to be set.
        optimiser: Optimiser to be set.
        generator: Source of chance in torch to be set.
        rng: Source of chance in NumPy to be set.

    Returns:
        Metrics of the epochs so far.

    Raises:
        RunError: The file is corrupt, or of another space, data set or recipe.
    """
    state = _read(path, identity)
    try:
        rows = [{str(k): float(v) for k, v in row.items()} for row in state["rows"]]
        module.load_state_dict(state["module"])
        optimiser.load_state_dict(state["optimiser"])
        generator.set_state(state["generator"])
        rng.bit_generator.state = json.loads(state["rng"])
    except (*_MISREAD, AttributeError) as error:
        raise RunError(
            f"checkpoint {path} is damaged: {error}; delete it to start anew"
        ) from error
    return rows


def load_weights(path: Path, identity: Mapping[str, str], module: torch.nn.Module) -> None:
    """Set a network's weights from a checkpoint, and nothing else.

    Args:
        path: The file.
        identity: Entries that must agree, such as the space.
        module: Network to be set.

    Raises:
        RunError: The file is missing, corrupt, or of another space.
    """
    state = _read(path, identity)
    try:
        module.load_state_dict(state["module"])
    except (*_MISREAD, AttributeError) as error:
        raise RunError(f"checkpoint {path} is damaged: {error}; train again") from error


def _read(path: Path, identity: Mapping[str, str]) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _MISREAD as error:
        raise RunError(
            f"checkpoint {path} cannot be read: {error}; delete it to start anew"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise RunError(f"{path} is not a training checkpoint of format {FORMAT}; delete it")
    saved = state.get("identity")
    saved = saved if isinstance(saved, dict) else {}
    for key, wanted in identity.items():
        if saved.get(key) != wanted:
            raise RunError(
                f"checkpoint {path} is of {key} {saved.get(key)!r}, asked for {wanted!r}; "
                "give the same arguments or another file"
            )
    return state


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()  # states of generators other than PCG64 hold arrays
    raise TypeError(f"state of the random generator holds a {type(value).__name__}")
