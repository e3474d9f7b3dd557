"""Runs CUDA source on the processor: a thread of the machine for each thread of a block.

Blocks run one after another, `__syncthreads` is a barrier, shared memory is static. Slow, and
enough to see what small kernels compute without a GPU. Knows the float32 code that TVM writes of
kernels that are one function of the device, but no shuffles within a warp.
"""

import ctypes
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tvm

from hwnas.errors import LoweringError

__all__ = ["run_cuda_on_cpu"]

_HEADER = """
#include <algorithm>
#include <barrier>
#include <cmath>
#include <cstdint>
#include <thread>
#include <vector>
struct Dim { unsigned x, y, z; };
struct int2 { int x, y; };
struct int4 { int x, y, z, w; };
static int2 make_int2(int x, int y) { return {x, y}; }
static int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
static float2 make_float2(float x, float y) { return {x, y}; }
static float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
static thread_local Dim threadIdx, blockIdx;
static Dim blockDim;
static std::barrier<>* block_barrier;
#define __global__
#define __launch_bounds__(x)
#define __shared__ static
#define __syncthreads() block_barrier->arrive_and_wait()
using std::max;
using std::min;
"""
_LAUNCH = """
extern "C" void launch(float** a, unsigned gx, unsigned gy, unsigned gz,
                       unsigned bx, unsigned by, unsigned bz) {{
  blockDim = {{bx, by, bz}};
  std::barrier<> barrier(bx * by * bz);
  block_barrier = &barrier;
  for (unsigned block = 0; block < gx * gy * gz; ++block) {{
    std::vector<std::thread> threads;
    for (unsigned thread = 0; thread < bx * by * bz; ++thread) {{
      threads.emplace_back([=] {{
        blockIdx = {{block % gx, block / gx % gy, block / gx / gy}};
        threadIdx = {{thread % bx, thread / bx % by, thread / bx / by}};
        {name}({arguments});
      }});
    }}
    for (auto& thread : threads) thread.join();
  }}
}}
"""
_AXES = [f"{kind}.{axis}" for kind in ("blockIdx", "threadIdx") for axis in "xyz"]


def run_cuda_on_cpu(
    scheduled: tvm.tirx.PrimFunc,
    target: tvm.target.Target,
    arrays: Sequence[npt.NDArray[np.float32]],
    folder: Path,
) -> npt.NDArray[np.float32]:
    """The last array after a scheduled function ran on all of them.

    Args:
        scheduled: Bound to threads.
        target: The GPU that code is generated for.
        arrays: float32, one for each parameter; they are left as they are.
        folder: Empty; where the source is compiled and, as long as this process runs, loaded from.

    Raises:
        LoweringError: Threads of a warp exchange values, or several functions are needed.
    """
    with target:
        named = tvm.IRModule({"kernel": scheduled.with_attr("global_symbol", "kernel")})
        (device,) = tvm.tirx.build(named, target=target).imports
    source = device.inspect_source()
    functions = re.findall(r"__global__ void\s.*?(\w+)\(([^()]*)\) \{", source)
    if "__shfl" in source or len(functions) != 1:
        raise LoweringError("the processor cannot stand in: shuffles, or several functions")
    ((name, signature),) = functions
    order = [each.split()[-1] for each in signature.split(",")]
    places = {f"{parameter.name}_ptr": i for i, parameter in enumerate(scheduled.params)}
    arguments = ", ".join(f"a[{places[each]}]" for each in order)
    kernel = source[source.rindex("#endif") + len("#endif") :]
    kernel = re.sub(r"__shared__ (alignas\(\d+\)) ", r"\1 static ", kernel)
    text = _HEADER + kernel + _LAUNCH.format(name=name, arguments=arguments)
    (folder / "kernel.cpp").write_text(text)
    library = folder / "kernel.so"
    command = ["g++", "-std=c++20", "-O0", "-w", "-shared", "-fPIC", "-pthread"]
    subprocess.run([*command, "-o", library, folder / "kernel.cpp"], check=True)

    script = scheduled.script()
    extents = dict.fromkeys(_AXES, 1)
    bound = r'thread_binding\((?:T\.int64\()?(\d+)\)?, thread="([\w.]+)"\)'
    for extent, axis in re.findall(bound, script):
        if axis in extents:
            extents[axis] = max(extents[axis], int(extent))
    copies = [np.ascontiguousarray(array, np.float32).copy() for array in arrays]
    pointers = (ctypes.c_void_p * len(copies))(*(copy.ctypes.data for copy in copies))
    ctypes.CDLL(str(library)).launch(pointers, *(extents[axis] for axis in _AXES))
    return copies[-1]
