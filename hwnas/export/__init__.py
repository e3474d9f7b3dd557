"""A chosen network as files that run on the target, and their receipt."""

from hwnas.export.export_model import EXPORTERS, Deployment, ExportRequest, Written, export_model
from hwnas.export.receipt import (
    Accuracy,
    FileRecord,
    Numerics,
    Overlap,
    Receipt,
    ReceiptFacts,
    read_receipt,
)

__all__ = [
    "EXPORTERS",
    "Accuracy",
    "Deployment",
    "ExportRequest",
    "FileRecord",
    "Numerics",
    "Overlap",
    "Receipt",
    "ReceiptFacts",
    "Written",
    "export_model",
    "read_receipt",
]
