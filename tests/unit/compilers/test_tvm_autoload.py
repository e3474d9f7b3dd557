"""What happens when TVM is imported and finds hwnas."""

import subprocess
import sys

from hwnas.compilers import tvm_autoload


def test_import_of_tvm_registers_the_pipeline_and_loads_nothing_else(tvm):
    program = (
        "import sys, tvm; from tvm.relax.pipeline import PIPELINE_MAP\n"
        "print('hwnas' in PIPELINE_MAP)\n"
        "print(sorted(m for m in sys.modules if m.startswith('hwnas')))"
    )

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )

    assert done.stdout.splitlines() == [
        "True",
        "['hwnas', 'hwnas.compilers', 'hwnas.compilers.tvm_autoload', 'hwnas.errors']",
    ]


def test_name_that_is_taken_is_left_alone(tvm, monkeypatch):
    from tvm.relax.pipeline import PIPELINE_MAP

    monkeypatch.setitem(PIPELINE_MAP, "hwnas", "somebody else's")

    tvm_autoload.autoload()

    assert PIPELINE_MAP["hwnas"] == "somebody else's"


def test_without_tvm_nothing_happens():
    program = (
        "import sys; from hwnas.compilers.tvm_autoload import autoload; autoload();"
        "print([m for m in ('tvm', 'torch') if m in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.strip() == "[]"
