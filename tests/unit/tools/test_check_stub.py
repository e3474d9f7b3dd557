import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nanobind", reason="nanobind writes the stub: pip install nanobind")

ROOT = Path(__file__).parents[3]
TOOL = ROOT / "tools" / "check_stub.py"


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", str(TOOL), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_committed_stub_is_what_the_module_says():
    done = check()

    assert done.returncode == 0, done.stdout + done.stderr


def test_changed_stub_is_reported_with_the_difference(tmp_path):
    stub = tmp_path / "_core.pyi"
    stub.write_text((ROOT / "hwnas" / "_core.pyi").read_text() + "def stray() -> None: ...\n")

    done = check("--stub", str(stub))

    assert done.returncode == 1
    assert "-def stray() -> None: ..." in done.stdout


def test_fix_writes_the_stub(tmp_path):
    stub = tmp_path / "_core.pyi"

    done = check("--stub", str(stub), "--fix")

    assert done.returncode == 0
    assert stub.read_text() == (ROOT / "hwnas" / "_core.pyi").read_text()
