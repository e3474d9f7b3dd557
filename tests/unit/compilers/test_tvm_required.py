import subprocess
import sys

import pytest

TRIED = """
import sys
sys.modules["tvm"] = None
from hwnas.errors import PluginError
try:
    import hwnas.compilers.tvm_{part}
except PluginError as error:
    print(error)
"""


@pytest.mark.parametrize(
    "part", ["annotation", "cost_model", "cost_recorder", "pass_recorder", "pipeline"]
)
def test_without_tvm_the_remedy_is_named(part):
    command = [sys.executable, "-c", TRIED.format(part=part)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    assert "inside TVM" in done.stdout
    assert "pip install 'hwnas[tvm]'" in done.stdout
