"""Where published measurements are that some benchmarks compare with."""

import os
from pathlib import Path

__all__ = ["published_folder"]


def published_folder() -> Path:
    """The folder `$HWNAS_PUBLISHED_DATA`, by default `shared/data` beside the checkout."""
    folder = os.environ.get("HWNAS_PUBLISHED_DATA")
    return Path(folder) if folder else Path(__file__).resolve().parents[2] / "shared" / "data"
