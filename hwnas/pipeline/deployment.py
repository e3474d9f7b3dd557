"""The device that exported code is for: a target, or a processor that many machines have."""

from hwnas.backends import get_backend
from hwnas.backends.tvm_kernels import code_target
from hwnas.costs import CostTable
from hwnas.errors import TargetError
from hwnas.export import Deployment
from hwnas.pipeline.searching import target_record
from hwnas.search.run_records import TargetRecord
from hwnas.targets import Settings, Target, get_target
from hwnas.tvm_worker.messages import CodeTarget

__all__ = ["GENERIC", "deployment_for", "deployment_here"]

_X86_64, _AARCH64 = "x86_64-linux-gnu", "aarch64-linux-gnu"
GENERIC = {
    "x86-64": CodeTarget("x86-64", _X86_64),
    "x86-64-v2": CodeTarget("x86-64-v2", _X86_64),
    "x86-64-v3": CodeTarget("x86-64-v3", _X86_64),
    "x86-64-v4": CodeTarget("x86-64-v4", _X86_64),
    "aarch64": CodeTarget("generic", _AARCH64),
}
"""Processors without a device file, by LLVM's names; the levels are those of the x86-64 psABI."""

_TUNED_HERE = "tvm-cpu"
_TVM_BACKENDS = ("tvm-cpu", "tvm-rpc")


def deployment_for(
    name: str | None, run_target: Target, table: CostTable | None, *, for_gpus: bool = True
) -> Deployment:
    """What code is generated for.

    Args:
        name: A target, a name of `GENERIC`, or None for the run's target, or for this machine if
            no code can be generated for that.
        run_target: The run's target.
        table: Beside which tuning records lie.
        for_gpus: Whether the format holds code for GPUs.

    Raises:
        TargetError: The target is unknown, or its file does not say what its processor is, or no
            code is made for its precision.
    """
    if name in GENERIC:
        code = GENERIC[name]
        description = f"any machine whose processor is {code.cpu} ({code.triple})"
        return Deployment(TargetRecord(name, "", description, 1), code)
    target = run_target if name is None else get_target(name)
    if target.gpu is not None and for_gpus:
        by_records = target.gpu.runtime == "tvm-tuned"
        return Deployment(
            target_record(target),
            code_target(target),
            table.tuning_folder(target.fingerprint) if by_records and table is not None else None,
            tuned_as=target.name if by_records else "",
            costs_by_tvm=by_records or target.gpu.runtime == "tvm",
            batch=target.gpu.batch,
        )
    if target.processor is None and (target.gpu is not None or not target.local):
        if name is not None:
            raise TargetError(
                f"no code can be generated for target {name!r}: its device file has no "
                f"[processor]; add one, or take one of {', '.join(GENERIC)}"
            )
        target = get_target(_TUNED_HERE)
    by_tvm = target.backend in _TVM_BACKENDS
    tuned = target if by_tvm or not target.local else get_target(_TUNED_HERE)
    tuned = tuned.with_threads(target.runtime.threads)
    return Deployment(
        target_record(target),
        code_target(target),
        None if table is None else table.tuning_folder(tuned.fingerprint),
        tuned_as=tuned.name,
        costs_by_tvm=by_tvm,
    )


def deployment_here(name: str | None, run_target: Target) -> Deployment:
    """This machine's device, for code that is compiled and tuned where it runs.

    Args:
        name: A target, or None for the run's.
        run_target: The run's target.

    Raises:
        TargetError: The device is not here.
    """
    target = run_target if name is None else get_target(name)
    if target.gpu is None and not target.local:
        raise TargetError(
            f"code for {target.name!r} cannot be compiled here: a package is compiled and tuned "
            "on the device itself, this machine's processor or GPU"
        )
    if target.gpu is not None:
        available = get_backend(target.with_settings(Settings(runtime="torch"))).is_available(
            target
        )
        if not available.works:
            raise TargetError(
                f"code for {target.name!r} is compiled and tuned on the GPU itself: "
                f"{available.reason}; {available.remedy}"
            )
    return Deployment(
        target_record(target),
        batch=1 if target.gpu is None else target.gpu.batch,
        on_gpu=target.gpu is not None,
        precision=target.runtime.precision,
    )
