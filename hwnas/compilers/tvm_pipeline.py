"""The Relax pipeline `hwnas`. Runs in a user's TVM.

    relax.get_pipeline("hwnas", table=..., target="cpu", database=...)

A network is fused into PrimFuncs, tuned schedules are applied where a database has them, and every
function is annotated with what it costs. With `build`, TVM's own steps down to the virtual machine
follow, so that `tvm.compile(module, target=..., relax_pipeline=...)` takes it.
"""

from hwnas.compilers import tvm_required  # noqa: F401

# isort: split
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tvm
from tvm import relax

from hwnas.compilers.tvm_annotation import AnnotateCosts, describe_kernels
from hwnas.costs import CostTable, default_table_path
from hwnas.errors import PluginError, TableError
from hwnas.targets import Target, get_target
from hwnas.tvm_worker import find_tvm
from hwnas.tvm_worker.relax_module import fuse
from hwnas.tvm_worker.tuning.tuner import apply_database

__all__ = ["hwnas_pipeline"]

log = logging.getLogger(__name__)

_RECORDS = "database_tuning_record.json"


def hwnas_pipeline(
    *,
    table: CostTable | Path | str | None = None,
    target: Target | str = "cpu",
    database: Path | str | None = None,
    build: bool = True,
) -> tvm.transform.Pass:
    """The pipeline as one pass.

    Args:
        table: Costs to annotate with; by default the user's table, if there is one.
        target: Device whose costs are looked up: one of hwnas's, or its name.
        database: Folder of tuning records, MetaSchedule's or hwnas's; without it, functions stay
            unscheduled.
        build: Whether to go on to the virtual machine's form. False keeps `call_tir`, which other
            passes and `CostRecorder.attach` want.

    Raises:
        PluginError: The installed TVM is not one that works.
        TableError: The table or the folder does not exist.
    """
    found = find_tvm()
    if not found.works:
        raise PluginError(f"{found.found}: {found.remedy}")
    device = get_target(target) if isinstance(target, str) else target
    if database is not None and not (Path(database) / _RECORDS).is_file():
        raise TableError(f"no tuning records in {database}: tune there first, or leave it out")
    if isinstance(table, str | Path) and not Path(table).is_file():
        raise TableError(f"no cost table at {table}: run `hwnas profile`, or leave it out")

    @tvm.transform.module_pass(opt_level=0, name="hwnas.Pipeline")  # type: ignore[untyped-decorator]
    def lower(
        module: tvm.IRModule,
        context: tvm.transform.PassContext,  # noqa: ARG001 (the contract gives it)
    ) -> tvm.IRModule:
        module = fuse(module)
        kernels = describe_kernels(module)
        left: tuple[str, ...] = tuple(kernels)
        if database is not None:
            module, left = _scheduled(module, Path(database))
        with _opened(table) as costs:
            annotate = AnnotateCosts(costs, device, kernels, set(kernels) - set(left))
            module = tvm.transform.Sequential([annotate])(module)
        log.info("hwnas: %d functions, %d without a schedule", len(kernels), len(left))
        return relax.get_pipeline("default_build")(module) if build else module

    return lower


def _scheduled(module: tvm.IRModule, folder: Path) -> tuple[tvm.IRModule, tuple[str, ...]]:
    """The module with tuned schedules, and names of functions that have none."""
    code = tvm.target.Target.current(allow_none=True)
    if code is None:
        raise PluginError(
            "a tuning database needs TVM's target: use tvm.compile(..., target=...), or call the "
            "pipeline under `with target:`"
        )
    return apply_database(module, code, folder)


@contextmanager
def _opened(table: CostTable | Path | str | None) -> Iterator[CostTable | None]:
    """The table; one given open stays open, and there may be none at the default place."""
    if isinstance(table, CostTable):
        yield table
        return
    path = default_table_path() if table is None else Path(table)
    if table is None and not path.is_file():
        yield None
        return
    with CostTable(path, create=False) as opened:
        yield opened
