"""An architecture with its weights, written as files that run elsewhere.

An exporter of one format writes files into an empty folder and runs what it wrote; this module
does what all formats share: the comparison with the trained network, the receipt, and the place.
Files are made in a folder beside the wanted one, which is then moved: there is never half an
export.
"""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from hwnas.errors import ExportError
from hwnas.export.c_format import export_c
from hwnas.export.onnx_format import export_onnx
from hwnas.export.receipt import (
    RECEIPT_NAME,
    SCHEMA_VERSION,
    FileRecord,
    Numerics,
    Receipt,
    ReceiptFacts,
    check_facts,
    read_receipt,
)
from hwnas.export.request import Deployment, ExportRequest, Written
from hwnas.export.tflite_format import export_tflite
from hwnas.export.torch_format import export_torch
from hwnas.export.tvm_format import export_tvm
from hwnas.graph import shape_of
from hwnas.search.installed_versions import installed_versions

__all__ = ["EXPORTERS", "Deployment", "ExportRequest", "Exporter", "Written", "export_model"]

Exporter = Callable[[ExportRequest, Path], Written]


def _export_aoti(request: ExportRequest, folder: Path) -> Written:
    from hwnas.export.aoti_format import export_aoti  # torch: heavy

    return export_aoti(request, folder)


EXPORTERS: dict[str, Exporter] = {
    "aoti": _export_aoti,
    "c": export_c,
    "onnx": export_onnx,
    "tflite": export_tflite,
    "torch": export_torch,
    "tvm": export_tvm,
}
"""Name of a format to what writes it; called with the request and an empty folder."""

ARCHITECTURE_NAME = "architecture.json"
_OF_THE_CODE = ("latency_s", "energy_j")  # the other metrics are counted from shapes


def export_model(request: ExportRequest, directory: Path | str, format: str = "onnx") -> Receipt:
    """Write a network and its receipt.

    Args:
        request: What to write, and what it must compute.
        directory: The folder; an earlier export there is replaced, anything else is left alone.
        format: A name of `EXPORTERS`.

    Returns:
        The receipt, as it stands in the folder.

    Raises:
        ExportError: Unknown format, malformed request, the folder holds something else, the disk
            is full, or the written model differs from the trained network by more than the
            tolerance. Nothing is left behind then.
        LoweringError: The network cannot be written in this format.
    """
    folder = Path(directory).absolute()
    exporter = EXPORTERS.get(format)
    if exporter is None:
        known = ", ".join(sorted(EXPORTERS))
        raise ExportError(f"unknown format {format!r}; available: {known}")
    _check_request(request)
    check_facts(request.facts)
    _check_replaceable(folder)
    with _beside(folder) as part:
        written = exporter(request, part)
        numerics = _compare(request, written)
        _write_json(part / ARCHITECTURE_NAME, _architecture(request))
        receipt = _receipt(request, format, written, numerics, _file_records(part))
        _write_json(part / RECEIPT_NAME, receipt)
        _sync(part)
        _move(part, folder)
    return receipt


def _check_request(request: ExportRequest) -> None:
    images, logits = request.images, request.logits
    network = request.space.network(request.architecture)
    inputs = network.inputs
    if len(inputs) != 1:
        raise ExportError(f"{request.space.name} has {len(inputs)} inputs; exporters take one")
    wanted = shape_of(inputs[0])[1:]
    if images.shape[1:] != wanted:
        raise ExportError(
            f"sample images are {images.shape[1:]}, {request.space.name} takes {wanted}"
        )
    if not len(images):
        raise ExportError("no sample images: an export is checked on at least one real input")
    result = shape_of(network.outputs[0])[1:]
    if logits.shape != (len(images), *result):
        raise ExportError(
            f"{len(images)} images and logits of shape {logits.shape}: "
            f"{request.space.name} gives (n, {', '.join(map(str, result))})"
        )
    if not (np.isfinite(images).all() and np.isfinite(logits).all()):
        raise ExportError("sample images or reference logits are not finite: train again")


def _compare(request: ExportRequest, written: Written) -> Numerics:
    if written.logits.shape != request.logits.shape:
        raise ExportError(
            f"the written model gives logits of shape {written.logits.shape}, "
            f"the trained network {request.logits.shape}"
        )
    difference = np.abs(written.logits.astype(np.float64) - request.logits)
    largest = float(difference.max(initial=0.0))
    allowed = request.tolerance + written.rounding
    if not largest <= allowed:  # a NaN is a difference
        raise ExportError(
            f"the written model differs from the trained network by {largest:.3g} in a logit, "
            f"allowed is {allowed:g}: the export is not kept"
        )
    return Numerics(largest, allowed, len(request.images), request.reference, written.runtime)


def _architecture(request: ExportRequest) -> dict[str, Any]:
    return {
        "schema": SCHEMA_VERSION,
        "space": request.space.name,
        "architecture": list(request.architecture.indices),
        "options": request.space.options(request.architecture),
    }


def _receipt(
    request: ExportRequest,
    format: str,
    written: Written,
    numerics: Numerics,
    files: dict[str, FileRecord],
) -> Receipt:
    facts = _facts_of(request, written)
    checked = (
        f"Largest difference of any logit on {numerics.images} images between the written model, "
        f"run by {numerics.runtime}, and {numerics.reference}."
    )
    return Receipt(
        schema=SCHEMA_VERSION,
        format=format,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        space=request.space.name,
        architecture=list(request.architecture.indices),
        options=dict(request.space.options(request.architecture)),
        target=written.target or facts.target,
        accuracy=facts.accuracy,
        predicted=facts.predicted,
        measured=facts.measured,
        how={**facts.how, "numerics": checked},
        budgets=facts.budgets,
        budget_kept=facts.budget_kept,
        energy_statement=facts.energy_statement,
        numerics=numerics,
        versions=installed_versions(),
        model=written.model,
        files=files,
        notes=list(written.notes),
        iou=facts.iou,
    )


def _facts_of(request: ExportRequest, written: Written) -> ReceiptFacts:
    """The request's facts, without the costs of other code than the written one."""
    facts = request.facts
    if not written.not_its_costs:
        return facts
    kept = {
        part: {name: figure for name, figure in figures.items() if name not in _OF_THE_CODE}
        for part, figures in (("predicted", facts.predicted), ("measured", facts.measured))
    }
    budgets = {name: most for name, most in facts.budgets.items() if name not in _OF_THE_CODE}
    left_out = {
        f"{part}.{name}"
        for part in ("predicted", "measured")
        for name in _OF_THE_CODE
        if f"{part}.{name}" in facts.how
    }
    how = {name: said for name, said in facts.how.items() if name not in left_out}
    return msgspec.structs.replace(
        facts,
        **kept,
        budgets=budgets,
        budget_kept=facts.budget_kept if budgets else None,
        energy_statement=None,
        how={**how, **{name: f"Left out: {written.not_its_costs}" for name in left_out}},
    )


# Files -----------------------------------------------------------------------------------------


def _check_replaceable(folder: Path) -> None:
    """Refuse to delete anything but what an export wrote."""
    if not folder.exists() and not folder.is_symlink():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise ExportError(f"{folder} is not a folder: name another one")
    found = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    if not found and not any(folder.iterdir()):
        return
    if RECEIPT_NAME not in found:
        raise ExportError(f"{folder} is not empty and no earlier export: name another folder")
    foreign = sorted(found - {RECEIPT_NAME, *read_receipt(folder).files})
    if foreign:
        raise ExportError(
            f"{folder} holds {foreign[0]!r} beside an earlier export: move it, "
            "or name another folder"
        )


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A new folder beside the wanted one, which is gone afterwards in any case."""
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    try:
        part.mkdir(parents=True)
        yield part
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ExportError(
                f"the disk is full: the export to {folder} could not be written, and what was "
                "there is intact"
            ) from error
        raise ExportError(f"cannot export to {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move(part: Path, folder: Path) -> None:
    """Put the new folder in its place; the old one goes only when the new one is there."""
    if not folder.exists():
        part.rename(folder)
        return
    old = part.with_suffix(".old")
    folder.rename(old)
    try:
        part.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _file_records(folder: Path) -> dict[str, FileRecord]:
    records = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            name = path.relative_to(folder).as_posix()
            records[name] = FileRecord(digest, path.stat().st_size)
    return records


def _write_json(path: Path, record: Any) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")


def _sync(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
