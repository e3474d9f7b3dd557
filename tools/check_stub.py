#!/usr/bin/env python3
"""Compares hwnas/_core.pyi with what nanobind writes for the installed extension.

The type checkers read the committed stub; this keeps it equal to the compiled module. Needs
nanobind (`pip install nanobind`).
"""

import argparse
import difflib
import subprocess
import sys
import tempfile
from pathlib import Path

STUB = Path(__file__).resolve().parents[1] / "hwnas" / "_core.pyi"


def main() -> int:
    """Returns 0 if the two are equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stub", type=Path, default=STUB, help="default: %(default)s")
    parser.add_argument("--fix", action="store_true", help="write the stub in place of comparing")
    arguments = parser.parse_args()
    made = generated_stub()
    if arguments.fix:
        arguments.stub.write_text(made, encoding="utf-8")
        return 0
    committed = arguments.stub.read_text(encoding="utf-8") if arguments.stub.is_file() else ""
    difference = list(
        difflib.unified_diff(
            committed.splitlines(), made.splitlines(), str(arguments.stub), "compiled", "", "", 1
        )
    )
    if difference:
        print(*difference, sep="\n")
        print(f"{arguments.stub} is not what the module says: run tools/check_stub.py --fix")
        return 1
    return 0


def generated_stub() -> str:
    """Returns the stub that nanobind writes for the installed `hwnas._core`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "_core.pyi"
        # stubgen looks in the working directory first; the checkout may lack the compiled part.
        command = [sys.executable, "-m", "nanobind.stubgen", "-q", "-m", "hwnas._core", "-o", file]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"cannot make a stub (pip install nanobind):\n{done.stderr}")
        return file.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
