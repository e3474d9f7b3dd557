"""Imported first by modules that run in a user's TVM: says what to do where there is none."""

from hwnas.errors import PluginError
from hwnas.tvm_worker.installation import EXTRA

__all__: list[str] = []

try:
    import tvm  # noqa: F401
except ModuleNotFoundError as error:
    raise PluginError(f"hwnas's parts for TVM run inside TVM ({error}): {EXTRA}") from error
