"""Benchmarks as whole processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
TIMEOUT_S = 300


@pytest.fixture
def run_quickly():
    """Runs a benchmark with `--quick --json` and checks what it prints."""

    def run(name, promised):
        command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--quick", "--json"]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            cwd=BENCHMARKS,
        )
        assert done.returncode == 0, done.stderr
        printed = json.loads(done.stdout)
        assert printed["benchmark"] == name
        assert printed["machine"]["cores"] >= 1
        assert promised <= {entry["name"] for entry in printed["results"]}
        assert all(isinstance(entry["value"], int | float) for entry in printed["results"])

    return run
