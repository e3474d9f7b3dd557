"""The programs of the page on compilers run."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from hwnas.tvm_worker import find_tvm

PAGE = Path(__file__).parents[3] / "docs" / "compilers.md"


def programs():
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(("number", "expected"), [(0, "Conv3s2-BN-Clip"), (1, "us in 29 runs")])
def test_program_of_the_page_runs(number, expected, tmp_path):
    program = programs()[number]
    if "torch" in program:
        pytest.importorskip("onnxscript", reason="needs the extra that brings onnxscript")
    elif not find_tvm().works:
        pytest.skip(find_tvm().found)

    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert expected in done.stdout
