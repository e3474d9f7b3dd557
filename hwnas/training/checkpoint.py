"""State of a training run in one file, replaced in one step, read without running code."""

import io
import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from hwnas.atomic_files import replace_file
from hwnas.errors import RunError
from hwnas.spaces import SearchSpace
from hwnas.supernet.sharing import supernet_class
from hwnas.supernet.supernet import Supernet

__all__ = ["Checkpoint", "load_checkpoint", "load_supernet", "rng_state", "save_checkpoint"]

FORMAT = 2
_MISREAD = (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, pickle.PickleError)
_DAMAGED = (*_MISREAD, AttributeError)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A training run between two epochs.

    Args:
        identity: What the run is of: space, data set, recipe, options.
        sharing: How the supernet shares weights.
        structure: As `Supernet.structure` gives it.
        weights: State of the supernet.
        parts: State of everything else, by name: optimisers, method, sources of chance.
        rows: Metrics of the epochs so far.
    """

    identity: dict[str, str]
    sharing: str
    structure: dict[str, Any]
    weights: dict[str, Any]
    parts: dict[str, Any]
    rows: list[dict[str, float]]

    def part(self, name: str) -> dict[str, Any]:
        """State that was saved as a dict under that name.

        Raises:
            RunError: There is none.
        """
        found = self.parts.get(name)
        if not isinstance(found, dict):
            raise RunError(f"the checkpoint is damaged: no {name!r}; delete it to start anew")
        return found

    def load_into(self, **parts: Any) -> None:
        """Restore parts in place.

        Args:
            parts: By the names of `save_checkpoint`: modules and optimisers, `torch.Generator`,
                `numpy.random.Generator`.

        Raises:
            RunError: A part is missing or does not fit.
        """
        try:
            for name, part in parts.items():
                state: Any = self.weights if name == "supernet" else self.parts[name]
                if isinstance(part, torch.Generator):
                    part.set_state(state)
                elif isinstance(part, np.random.Generator):
                    part.bit_generator.state = json.loads(state)
                else:
                    part.load_state_dict(state)
        except _DAMAGED as error:
            raise RunError(
                f"the checkpoint is damaged: {error}; delete it to start anew"
            ) from error


def save_checkpoint(
    path: Path,
    identity: Mapping[str, str],
    supernet: Supernet,
    rows: list[dict[str, float]],
    **parts: Any,
) -> None:
    """Write everything that the rest of a training run depends on.

    The file is complete at any moment: the old one stays until the new one is whole.

    Args:
        path: The file.
        identity: What the run is of.
        supernet: The network.
        rows: Metrics of the epochs so far.
        parts: Modules, optimisers, sources of chance, or states made of tensors, numbers, strings,
            lists and dicts.

    Raises:
        RunError: The disk is full or the file cannot be written.
    """
    state = {
        "format": FORMAT,
        "identity": dict(identity),
        "sharing": supernet.sharing,
        "structure": supernet.structure(),
        "supernet": supernet.state_dict(),
        "parts": {name: _state_of(part) for name, part in parts.items()},
        "rows": rows,
    }
    # Encoded in memory: torch turns what the disk refuses into a RuntimeError of its own.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    replace_file(path, lambda file: file.write(buffer.getbuffer()))


def load_checkpoint(path: Path, identity: Mapping[str, str]) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: The file.
        identity: Entries that must agree, such as the space.

    Raises:
        RunError: The file is missing, corrupt, or of another space, data set or recipe.
    """
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
    try:
        return Checkpoint(
            {str(key): str(value) for key, value in saved.items()},
            str(state["sharing"]),
            dict(state["structure"]),
            dict(state["supernet"]),
            dict(state["parts"]),
            [{str(k): float(v) for k, v in row.items()} for row in state["rows"]],
        )
    except _DAMAGED as error:
        raise RunError(
            f"checkpoint {path} is damaged: {error}; delete it to start anew"
        ) from error


def load_supernet(path: Path, space: SearchSpace) -> Supernet:
    """The trained supernet of a checkpoint, of whichever way of sharing.

    Args:
        path: The file.
        space: The space it must be of.

    Raises:
        RunError: The file is missing, corrupt, or of another space.
    """
    found = load_checkpoint(path, {"space": space.name})
    supernet = supernet_class(found.sharing).from_structure(space, found.structure)
    found.load_into(supernet=supernet)
    supernet.eval()
    return supernet


def rng_state(rng: np.random.Generator) -> str:
    """State of a NumPy generator as JSON."""
    return json.dumps(rng.bit_generator.state, default=_plain)


def _state_of(part: Any) -> Any:
    if isinstance(part, torch.Generator):
        return part.get_state()
    if isinstance(part, np.random.Generator):
        return rng_state(part)
    if isinstance(part, nn.Module | torch.optim.Optimizer):
        return part.state_dict()
    return part


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist()  # states of generators other than PCG64 hold arrays
    raise TypeError(f"state of the random generator holds a {type(value).__name__}")
