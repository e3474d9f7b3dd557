"""How Python processes that run TVM are started."""

import sys

__all__ = ["python_command"]


def python_command(module: str, *arguments: str) -> list[str]:
    """Runs `main` of a module of hwnas in a process of its own that cannot import torch.

    Nothing there needs it, and `tvm_ffi` imports it wherever it is installed: two thirds of the
    time that TVM takes to start (3.2 s of processor time with it, 1.0 s without).
    """
    code = f"import sys; sys.modules['torch'] = None; from {module} import main; main()"
    return [sys.executable, "-P", "-c", code, *arguments]
