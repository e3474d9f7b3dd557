"""The receipt of an export: what the network is, what it costs, and how each number was obtained.

`receipt.json` lies beside the model. Quantities are in SI units under names that end in the unit;
`null` is a number that is not known or not finite.
"""

from pathlib import Path
from typing import Any

import msgspec

from hwnas.errors import ExportError
from hwnas.search.run_records import CostFigure, Count, TargetRecord

__all__ = [
    "RECEIPT_NAME",
    "SCHEMA_VERSION",
    "Accuracy",
    "FileRecord",
    "Numerics",
    "Overlap",
    "Receipt",
    "ReceiptFacts",
    "check_facts",
    "read_receipt",
]

SCHEMA_VERSION = 1
RECEIPT_NAME = "receipt.json"
_LARGEST_BYTES = 1 << 24
_ENERGY = "energy_j"


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A record whose unknown fields are refused."""


class Accuracy(_Strict, frozen=True):
    """Share of images classified rightly.

    Args:
        value: From 0 to 1.
        images: How many images it was measured on.
    """

    value: float | None
    images: Count


class Overlap(_Strict, frozen=True):
    """Intersection over union of masks, pixels of all images together.

    Args:
        value: From 0 to 1.
        images: How many images it was measured on.
    """

    value: float | None
    images: Count


class FileRecord(_Strict, frozen=True):
    """A file of the export, so that a reader can tell whether it is the one that was checked.

    Args:
        sha256: Of its content, hexadecimal.
        size_bytes: Its length.
    """

    sha256: str
    size_bytes: Count


class Numerics(_Strict, frozen=True):
    """The comparison of the written model with the network that was trained.

    Args:
        max_abs_difference: Largest difference of any logit of any image.
        tolerance: The largest that was allowed.
        images: Images that were run.
        reference: What gave the expected logits.
        runtime: What ran the written model.
    """

    max_abs_difference: float
    tolerance: float
    images: Count
    reference: str
    runtime: str


class ReceiptFacts(_Strict, frozen=True):
    """What only the caller knows; goes into the receipt as it is.

    Args:
        target: The device.
        accuracy: Split, `validation` or `test`, to accuracy.
        predicted: Metric to cost.
        measured: Metric to cost; empty if nothing could be measured.
        how: How each number was obtained, one sentence each: for every entry of the three above
            `accuracy.<split>`, `predicted.<metric>`, `measured.<metric>`.
        budgets: Metric to upper limit.
        budget_kept: Whether they are kept; None if there is no budget.
        energy_statement: What an energy that is not measured is worth; required with one.
        iou: Split to intersection over union, for networks that segment; `iou.<split>` in `how`.
    """

    target: TargetRecord
    accuracy: dict[str, Accuracy]
    predicted: dict[str, CostFigure]
    measured: dict[str, CostFigure]
    how: dict[str, str]
    budgets: dict[str, float] = {}
    budget_kept: bool | None = None
    energy_statement: str | None = None
    iou: dict[str, Overlap] = {}


class Receipt(_Strict, frozen=True):
    """`receipt.json`.

    Args:
        schema: Version of this format.
        format: Name of the exporter.
        date: UTC, ISO 8601.
        space: Name of the search space.
        architecture: Option indices.
        options: The same by decision name.
        target: The device.
        accuracy: Split to accuracy; empty for a network that segments.
        predicted: Metric to cost.
        measured: Metric to cost.
        how: `accuracy.<split>` or `iou.<split>`, `predicted.<metric>`, `measured.<metric>` and
            `numerics` to one sentence.
        budgets: Metric to upper limit.
        budget_kept: Whether they are kept; null if there is no budget.
        energy_statement: What an energy that is not measured is worth.
        numerics: How closely the written model agrees with the trained network.
        versions: Of Python and the packages that decide numbers.
        model: Name of the file to load.
        files: Name of every other file of the export to its hash and size.
        notes: What a user of the model must know, such as its batch size.
        iou: Split to intersection over union; empty for a network that classifies.
    """

    schema: int
    format: str
    date: str
    space: str
    architecture: list[int]
    options: dict[str, Any]
    target: TargetRecord
    accuracy: dict[str, Accuracy]
    predicted: dict[str, CostFigure]
    measured: dict[str, CostFigure]
    how: dict[str, str]
    budgets: dict[str, float]
    budget_kept: bool | None
    energy_statement: str | None
    numerics: Numerics
    versions: dict[str, str]
    model: str
    files: dict[str, FileRecord]
    notes: list[str]
    iou: dict[str, Overlap] = {}


def read_receipt(folder: Path | str) -> Receipt:
    """The receipt of an export.

    Raises:
        ExportError: It is missing, too large, malformed, or of another version.
    """
    path = Path(folder) / RECEIPT_NAME
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise ExportError(f"cannot read {path}: {error.strerror or error}") from None
    if len(content) > _LARGEST_BYTES:
        raise ExportError(f"{path} has more than {_LARGEST_BYTES} bytes: hwnas did not write it")
    try:
        receipt = msgspec.json.decode(content, type=Receipt)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ExportError(f"{path} is not a receipt of this hwnas: {error}") from None
    if receipt.schema != SCHEMA_VERSION:
        raise ExportError(f"{path} has schema {receipt.schema}, this hwnas reads {SCHEMA_VERSION}")
    return receipt


def check_facts(facts: ReceiptFacts) -> None:
    """Make sure that no number goes out without its origin.

    Raises:
        ExportError: A number has no sentence that says how it was obtained, or an energy that is
            not measured has no statement of its worth.
    """
    numbers = [f"accuracy.{split}" for split in facts.accuracy]
    numbers += [f"iou.{split}" for split in facts.iou]
    for part, figures in (("predicted", facts.predicted), ("measured", facts.measured)):
        numbers += [f"{part}.{metric}" for metric in figures]
        energy = figures.get(_ENERGY)
        if energy and energy.provenance != "measured" and not facts.energy_statement:
            raise ExportError(
                f"{part} energy is {energy.provenance}, and the receipt says nothing about its "
                "worth: give an energy_statement"
            )
    missing = [name for name in numbers if not facts.how.get(name)]
    if missing:
        raise ExportError(
            f"the receipt does not say how {missing[0]} was obtained: give how[{missing[0]!r}]"
        )
    if facts.budgets and facts.budget_kept is None:
        raise ExportError("there are budgets, and the receipt does not say whether they are kept")
