"""A fused Relax module as C functions, the order of their calls, and a plan of memory.

TVM's C code generator wraps every kernel in its calling convention, which needs its headers and
checks every argument; here the wrapping is left out and each kernel becomes a plain function of
pointers to floats. What a kernel allocates becomes further pointers, so that all memory is planned
before anything runs. Runs in the TVM process.
"""

import re
from math import prod

import tvm
import tvm_ffi
from tvm import relax, s_tir, tirx
from tvm.ir import PointerType, PrimType

from hwnas.errors import LoweringError
from hwnas.tvm_worker.messages import Array, CCall, CNetwork, Place

__all__ = ["c_network"]

_FLOAT_BYTES = 4
_ALIGNED_FLOATS = 4  # 16 bytes: what vector units of microcontrollers ask for
_LOCAL_FLOATS = 16  # arrays so small stay local variables, which compilers put in registers
_PREFIX = "kernel_"  # TVM names kernels `exp` or `round` as C names functions
_PACKING = (
    "tirx.MakePackedAPI",
    "tirx.FP8StorageLegalize",
    "tirx.BF16StorageLegalize",
    "tirx.LowerTVMBuiltin",
)
_PLAN = tvm.transform.Sequential(
    [
        relax.transform.RewriteDataflowReshape(),
        relax.transform.ToNonDataflow(),
        relax.transform.RemovePurityChecking(),
        relax.transform.CallTIRRewrite(),
        relax.transform.StaticPlanBlockMemory(),
    ]
)


def c_network(module: tvm.IRModule) -> CNetwork:
    """C functions of a fused module with one input and one output, both float32.

    Raises:
        LoweringError: It has more of them, other types, or something that is no kernel.
    """
    target = tvm.target.Target("c")
    with target:
        planned = _PLAN(module)
    reader = _MainReader(planned["main"])
    kernels = {name: _in_little_memory(planned[name]) for name in reader.called}
    functions, scratch = _plain_functions(kernels, target)
    base = reader.arena_floats
    largest = 0
    calls = []
    for name, arguments in reader.calls:
        end = base
        for floats in scratch[name]:
            arguments = (*arguments, Place("arena", end))
            end += _aligned(floats)
        largest = max(largest, end)
        calls.append(CCall(_PREFIX + name, arguments))
    return CNetwork(
        _source(functions, target),
        tuple(calls),
        tuple(reader.weights),
        max(base, largest),
        reader.input_shape,
        reader.output_shape,
    )


class _MainReader:
    """Reads calls and buffers off a `main` whose memory TVM has planned."""

    def __init__(self, main: relax.Function) -> None:
        if len(main.params) != 1:
            raise LoweringError(f"C is written for one input, the network has {len(main.params)}")
        self.input_shape = _shape(main.params[0].ty)
        self.output_shape = _shape(main.ret_ty)
        self.calls: list[tuple[str, tuple[Place, ...]]] = []
        self.called: dict[str, None] = {}
        self.weights: list[Array] = []
        self.arena_floats = 0
        self._places = {main.params[0]: Place("input")}
        for block in main.body.blocks:
            for binding in block.bindings:
                self._read(binding.var, binding.value)
        if self._place(main.body.body).kind != "output":
            raise LoweringError("the network's output is no kernel's result: C cannot be written")

    def _read(self, var: relax.Var, value: relax.Expr) -> None:
        if isinstance(value, relax.Var):
            self._places[var] = self._place(value)
            return
        if not isinstance(value, relax.Call):
            raise LoweringError(f"no C form of {type(value).__name__} in the network")
        if isinstance(value.op, tvm.ir.GlobalVar):
            name = value.op.name_hint
            self.called[name] = None
            self.calls.append((name, tuple(self._place(argument) for argument in value.args)))
            return
        match value.op.name:
            case "relax.memory.alloc_storage":
                self._places[var] = Place("arena", self.arena_floats)
                size = int(value.args[0].values[0])
                self.arena_floats += _aligned(-(-size // _FLOAT_BYTES))
            case "relax.memory.alloc_tensor":
                _shape(var.ty)
                offset = int(value.args[1].value) // _FLOAT_BYTES
                self._places[var] = Place("arena", self._place(value.args[0]).offset + offset)
            case "relax.builtin.alloc_tensor":
                _shape(var.ty)
                self._places[var] = Place("output")
            case "relax.reshape":
                self._places[var] = self._place(value.args[0])
            case name:
                raise LoweringError(f"no C form of {name} in the network")

    def _place(self, value: relax.Expr) -> Place:
        if isinstance(value, tvm.ir.Constant):
            _shape(value.ty)
            self.weights.append(Array.of(value.value.numpy()))
            return Place("weight", len(self.weights) - 1)
        found = self._places.get(value)
        if found is None:
            raise LoweringError(f"no C form of {value} in the network")
        return found


def _in_little_memory(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """Padding computed where it is read, and each sum where it is used.

    As TVM makes a kernel, it keeps its padded input and all its sums in memory of their own.
    """
    schedule = s_tir.Schedule(tvm.IRModule({"main": function}))
    *inner, last = schedule.get_child_blocks(schedule.get_sblock("root"))
    left = [block for block in inner if not _inlined(schedule, block)]
    results = _written(schedule, last)
    innermost = schedule.get_loops(last)[-1:]
    for block in left:
        # A sum that serves several results is formed once, before them.
        if _written(schedule, block) == results and innermost and len(left) == 1:
            schedule.compute_at(block, innermost[0])
    return schedule.mod["main"]


def _inlined(schedule: s_tir.Schedule, block: s_tir.schedule.SBlockRV) -> bool:
    try:
        schedule.compute_inline(block)
    except s_tir.ScheduleError:
        return False
    return True


def _written(schedule: s_tir.Schedule, block: s_tir.schedule.SBlockRV) -> int:
    (region,) = schedule.get(block).writes
    return prod(int(side) for side in region.source.ty.shape)


def _plain_functions(
    kernels: dict[str, tirx.PrimFunc], target: tvm.target.Target
) -> tuple[tvm.IRModule, dict[str, list[int]]]:
    """Lowered functions of pointers, and how many floats each one needs beside its arguments."""
    hosted = target.with_host(target)
    module = tvm.IRModule({name: _bare(function) for name, function in kernels.items()})
    lower, finish, _ = tirx.get_tir_pipeline("default")
    with tvm.transform.PassContext(opt_level=3, instruments=[_WithoutPacking()]):
        module = lower(tirx.transform.BindTarget(hosted)(module))
    plain, scratch = {}, {}
    for name in kernels:
        function, scratch[name] = _of_pointers(module[name])
        plain[name] = function.with_attr("global_symbol", _PREFIX + name).with_attr(
            "target", hosted
        )
    with tvm.transform.PassContext(opt_level=3, instruments=[_WithoutPacking()]):
        return finish()(tvm.IRModule(plain)), scratch


@tvm.ir.instrument.pass_instrument
class _WithoutPacking:
    """Leaves out the passes that wrap a kernel in TVM's calling convention."""

    def should_run(self, module: tvm.IRModule, info: tvm.transform.PassInfo) -> bool:  # noqa: ARG002
        """Whether a pass runs."""
        return info.name not in _PACKING


def _of_pointers(function: tirx.PrimFunc) -> tuple[tirx.PrimFunc, list[int]]:
    """A lowered function whose arguments and allocations are pointers."""
    pointers = {p: _pointer(p.name, p.ty.dtype) for p in function.params}
    scratch: list[tirx.Var] = []
    floats: list[int] = []

    def declare(statement: tirx.Stmt) -> tirx.Stmt:
        if isinstance(statement, tirx.AllocBuffer):
            buffer = statement.buffer
            size = prod(int(side) for side in buffer.ty.shape)
            if size <= _LOCAL_FLOATS:
                return statement
            scratch.append(_pointer(f"scratch{len(scratch)}", buffer.ty.dtype))
            floats.append(size)
            return tirx.DeclBuffer(buffer, data=scratch[-1])
        source = statement.data.args[0] if isinstance(statement.data, tvm.ir.Call) else None
        if source not in pointers:
            return statement
        return tirx.DeclBuffer(statement.buffer, data=pointers[source])

    body = tvm_ffi.structural_map(
        function.body, [(tirx.AllocBuffer, declare), (tirx.DeclBuffer, declare)]
    )
    return tirx.PrimFunc([*pointers.values(), *scratch], body), floats


def _pointer(name: str, dtype: object) -> tirx.Var:
    if str(dtype) != "float32":
        raise LoweringError(f"C is written for float32, a kernel holds {dtype}")
    return tirx.Var(name, PointerType(PrimType("float32"), "global"))


def _source(functions: tvm.IRModule, target: tvm.target.Target) -> str:
    """C source without TVM's headers; what it uses is in `math.h` and `stdint.h`."""
    text = tvm.get_global_func("target.build.c")(functions, target).inspect_source()
    begin = text.index("#ifdef __cplusplus")
    return re.sub(r'#ifdef __cplusplus\nextern "C"\n#endif\nTVM_DLL ', "static ", text[begin:])


def _bare(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """Without the name by which TVM would make it an entry of its own convention."""
    named = function.attrs is not None and "global_symbol" in function.attrs
    return function.without_attr("global_symbol") if named else function


def _shape(ty: relax.Type) -> tuple[int, ...]:
    if not isinstance(ty, relax.TensorType) or str(ty.dtype) != "float32":
        raise LoweringError(f"C is written for float32 tensors, the network holds {ty}")
    return tuple(int(side) for side in ty.shape)


def _aligned(floats: int) -> int:
    return -(-floats // _ALIGNED_FLOATS) * _ALIGNED_FLOATS
