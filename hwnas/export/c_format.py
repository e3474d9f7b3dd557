"""The `c` format: the network as C99 for microcontrollers, without any library but `libm`.

TVM's kernels become functions, weights become constants, and one function calls the kernels in
order; all memory is one static array. The code is plain loops, not tuned for any processor.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hwnas.backends.tvm_kernels import model_bytes
from hwnas.errors import ExportError, LoweringError
from hwnas.export.request import ExportRequest, Written
from hwnas.search.installed_versions import installed_versions
from hwnas.tvm_worker import shared_worker
from hwnas.tvm_worker.cross_compiling import architecture_of
from hwnas.tvm_worker.messages import CNetwork, CodeTarget, Place, WriteC

__all__ = ["LARGEST_WEIGHT_BYTES", "MODEL_NAME", "export_c"]

MODEL_NAME = "model.c"
HEADER_NAME, WEIGHTS_NAME, EXAMPLE_NAME = "model.h", "weights.h", "main.c"
LARGEST_WEIGHT_BYTES = 8 << 20  # about 32 MB of text; flash of microcontrollers is smaller
_OPTIONS = ("-std=c99", "-O2")
_WEIGHTS_PER_LINE = 6
_COMPILE_S = 600.0
_RUN_S = 600.0


def export_c(request: ExportRequest, folder: Path) -> Written:
    """Write `model.c`, `model.h`, `weights.h` and `main.c`; compile and run them.

    Raises:
        PluginError: TVM is not installed, or in a version that does not work.
        LoweringError: TVM does not take the network, the weights are too large for source text, or
            the network has operators that C is not written for.
        ExportError: There is no C compiler, or what was written does not compile or run.
    """
    architecture = architecture_of(request.deployment.code)
    compiler, emulator = _compiler(architecture)
    graph = request.space.network(request.architecture)
    total = sum(array.nbytes for name, array in request.weights.items() if name in graph.weights)
    if total > LARGEST_WEIGHT_BYTES:
        raise LoweringError(
            f"{request.space.name} has {total} bytes of weights; as C text at most "
            f"{LARGEST_WEIGHT_BYTES} are written: search under a budget of memory, or export "
            "another format"
        )
    model = model_bytes(graph, request.weights)
    network = shared_worker(1).request(WriteC(model), CNetwork)
    (folder / WEIGHTS_NAME).write_text("".join(_weights(network)))
    (folder / HEADER_NAME).write_text(_header(network, request))
    (folder / MODEL_NAME).write_text(_model(network))
    example = files("hwnas.export").joinpath("c_example", EXAMPLE_NAME)
    (folder / EXAMPLE_NAME).write_bytes(example.read_bytes())
    result = network.output_shape[1:]
    logits, flash_bytes = _run(folder, request.images, result, compiler, emulator)
    built_for = architecture if emulator else architecture_of(CodeTarget())
    how = f"{Path(compiler[0]).name} {' '.join(_OPTIONS)} for {built_for}"
    weight_bytes = sum(len(weight.data) for weight in network.weights)
    ends = 4 * (prod(network.input_shape) + prod(network.output_shape))
    notes = (
        f"RAM: {4 * network.arena_floats} bytes in one static array; the caller's input and "
        f"output take {ends} more.",
        f"Flash: {weight_bytes} bytes of weights; with code {flash_bytes} bytes as compiled by "
        f"{how}."
        if flash_bytes
        else f"Flash: {weight_bytes} bytes of weights, and the code.",
        "Plain loops that no processor's tuning has gone into: slow, and no latency is claimed.",
        f"Input: one image, float32 of shape {'x'.join(map(str, network.input_shape))}. Needs "
        "C99 and libm.",
        "Batch normalisation is folded into the convolutions.",
    )
    return Written(
        MODEL_NAME,
        logits,
        f"the program compiled by {how}" + (", emulated by qemu" if emulator else ""),
        notes,
        target=request.deployment.target,
        not_its_costs=(
            f"the run's costs are of target {request.facts.target.name} and its runtime, not of "
            "this C code, whose time was not measured."
        ),
    )


def _header(network: CNetwork, request: ExportRequest) -> str:
    name = "".join(c for c in request.space.name if c.isalnum() or c in "-_@.")
    return f"""\
/* A network of space {name}, written by hwnas {installed_versions()["hwnas"]}. */
#ifndef HWNAS_MODEL_H
#define HWNAS_MODEL_H

#ifdef __cplusplus
extern "C" {{
#endif

#define HWNAS_INPUT_FLOATS {prod(network.input_shape)} /* {_sides(network.input_shape)} */
#define HWNAS_OUTPUT_FLOATS {prod(network.output_shape)} /* {_sides(network.output_shape)} */

/* Logits of one image. Works in one static array: not for two threads at a time. */
void hwnas_run(const float *input, float *output);

#ifdef __cplusplus
}}
#endif

#endif
"""


def _weights(network: CNetwork) -> Iterator[str]:
    yield "/* Weights, exact to the last bit. */\n"
    for number, weight in enumerate(network.weights):
        values = weight.numpy().reshape(-1).tolist()
        if not np.isfinite(values).all():
            raise LoweringError("a weight is not finite: train again")
        yield f"static const float weight_{number}[{len(values)}] = {{\n"
        for begin in range(0, len(values), _WEIGHTS_PER_LINE):
            line = values[begin : begin + _WEIGHTS_PER_LINE]
            yield "    " + " ".join(f"{value:.8e}f," for value in line) + "\n"
        yield "};\n"


def _model(network: CNetwork) -> str:
    calls = "\n".join(
        f"    {call.function}({', '.join(_argument(place) for place in call.arguments)});"
        for call in network.calls
    )
    return f"""\
/* Kernels by TVM; the order of their calls and their memory by hwnas. */
#include "model.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "weights.h"

static float arena[{max(1, network.arena_floats)}];

{network.kernels}
void hwnas_run(const float *input, float *output) {{
{calls}
}}
"""


def _argument(place: Place) -> str:
    match place.kind:
        case "input":
            return "(float *)input"  # kernels only read it, but take no const
        case "output":
            return "output"
        case "weight":
            return f"(float *)weight_{place.offset}"
        case "arena":
            return f"arena + {place.offset}"


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


# Compiling and running what was written --------------------------------------------------------


def _compiler(architecture: str) -> tuple[list[str], list[str]]:
    """A C compiler for an architecture and what runs its programs, or one for this machine."""
    here = architecture_of(CodeTarget())
    if architecture != here:
        cross = shutil.which(f"{architecture}-linux-gnu-gcc")
        qemu = shutil.which(f"qemu-{architecture}")
        if cross and qemu:
            return [cross, "-static"], [qemu]
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return [found], []
    raise ExportError(
        "no C compiler to check the exported code with: looked for cc, gcc and clang; "
        "apt-get install gcc"
    )


def _run(
    folder: Path,
    images: npt.NDArray[np.float32],
    result: tuple[int, ...],
    compiler: list[str],
    emulator: list[str],
) -> tuple[npt.NDArray[np.float32], int]:
    """Logits of the compiled program, and bytes of its code and constants; 0 if not known."""
    with tempfile.TemporaryDirectory(prefix="hwnas-") as scratch:
        built, program, given, got = (
            str(Path(scratch) / n) for n in ("model.o", "main", "x", "y")
        )
        source, example = (str(folder / name) for name in (MODEL_NAME, EXAMPLE_NAME))
        _call([*compiler, *_OPTIONS, "-c", source, "-o", built], _COMPILE_S)
        _call([*compiler, *_OPTIONS, example, built, "-lm", "-o", program], _COMPILE_S)
        np.ascontiguousarray(images, dtype=np.float32).tofile(given)
        _call([*emulator, program, given, got], _RUN_S)
        logits = np.fromfile(got, np.float32).reshape(len(images), *result)
        return logits, _flash_bytes(built, compiler[0])


def _flash_bytes(built: str, compiler: str) -> int:
    """What binutils' `size` counts as text and data, constants among it."""
    cross = compiler.removesuffix("gcc") if compiler.endswith("-gcc") else ""
    size = shutil.which(f"{cross}size")
    if size is None:
        return 0
    said = _call([size, built], _RUN_S).splitlines()
    text, data, *_ = said[-1].split()
    return int(text) + int(data)


def _call(command: list[str], limit_s: float) -> str:
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ExportError(f"{name} cannot check the exported C code: {error}") from error
    if done.returncode:
        said = done.stderr.strip()[-500:]
        raise ExportError(f"{name} cannot check the exported C code: {said}")
    return done.stdout
