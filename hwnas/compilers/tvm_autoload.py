"""What TVM calls at the end of `import tvm`: the pipeline `hwnas` gets its name.

It runs in every process that imports TVM, also in those that never use hwnas, so nothing else is
loaded before the pipeline is asked for.
"""

import sys
from typing import Any

__all__ = ["autoload", "pipeline"]

NAME = "hwnas"


def autoload() -> None:
    """Register the Relax pipeline `hwnas`; without a compiler, or when it is taken, do nothing."""
    relax_pipeline = sys.modules.get("tvm.relax.pipeline")
    if relax_pipeline is not None and NAME not in relax_pipeline.PIPELINE_MAP:
        relax_pipeline.register_pipeline(NAME)(pipeline)


def pipeline(**options: Any) -> Any:
    """The pass of `hwnas.compilers.tvm_pipeline.hwnas_pipeline` with the same arguments."""
    from hwnas.compilers.tvm_pipeline import hwnas_pipeline

    return hwnas_pipeline(**options)
