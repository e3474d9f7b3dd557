"""What a device file says: its parts, as `targets/<device>/device.toml` holds them."""

from typing import Literal

import msgspec

__all__ = [
    "AcceleratorChip",
    "AcceleratorCore",
    "EnergyModel",
    "FpgaArray",
    "Gpu",
    "GpuRuntime",
    "PeakRates",
    "Precision",
    "Processor",
    "Remote",
    "Runtime",
]

Precision = Literal["float32", "tf32", "float16", "bfloat16", "int8"]
GpuRuntime = Literal["torch", "tvm", "tvm-tuned", "onnxruntime", "tensorrt"]


class Runtime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How networks run on the device.

    Args:
        threads: Threads of one network.
        precision: Of weights and activations; tf32 is float32 in memory, rounded to 10 bits of
            mantissa in tensor cores.
    """

    threads: int = 1
    precision: Precision = "float32"


class EnergyModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where energy comes from; the constants serve when nothing can be measured.

    Args:
        source: `rapl` (measured where the counters are readable), `nvml` (measured or not known
            at all), or `model`.
        energy_j_per_mac: One float32 multiply-accumulate, in J.
        energy_j_per_byte: Moving one byte of an operand, in J.
        reference: Source of the two constants.
    """

    source: Literal["rapl", "nvml", "model"]
    reference: str
    energy_j_per_mac: float = 0.0
    energy_j_per_byte: float = 0.0


class PeakRates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rates of a modelled device."""

    macs_per_s: float
    bandwidth_bytes_per_s: float
    kernel_overhead_s: float


class Processor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What code is compiled for, and how fast the cores are that run it.

    Args:
        architecture: Of the instruction set.
        cpu: LLVM's name of the core, such as `cortex-a72`; `host` is the machine hwnas runs on.
        features: LLVM's attributes beyond those of `cpu`, such as `+neon`.
        triple: LLVM's target triple, such as `aarch64-linux-gnu`; empty for this machine's own.
        cores: Cores of that kind.
        clock_hz: Highest clock of such a core by default; 0 where it is not known.
        reference: Sources of the numbers.
    """

    architecture: Literal["x86_64", "aarch64"]
    cpu: str = "host"
    features: tuple[str, ...] = ()
    triple: str = ""
    cores: int = 1
    clock_hz: float = 0.0
    reference: str = ""


class Remote(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a device elsewhere is found.

    Args:
        key: Under which boards of this kind register at an RPC tracker.
    """

    key: str


class AcceleratorCore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One array of processing elements (PEs) on a chip.

    Args:
        dataflow: How layers are mapped: weight-, output- or row-stationary.
        pes: Processing elements.
        bandwidth: Elements per cycle between the shared buffer and the PEs.
        l1_bytes: Buffer of one PE.
        l2_bytes: Shared buffer.
        hop_latency: Cycles that the first element of a transfer takes.
    """

    dataflow: Literal["dla", "shi", "rs"]
    pes: int
    bandwidth: int
    l1_bytes: int
    l2_bytes: int
    hop_latency: int = 1


class AcceleratorChip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An accelerator that is modelled, layer by layer.

    Args:
        cores: At least one; a layer runs on the one that is fastest for it.
        technology: Name of the technology profile.
        clock_hz: Clock of the cores.
        dram_bandwidth_bytes_per_s: 0 where DRAM is never waited for.
        reference: Sources of the numbers.
    """

    cores: tuple[AcceleratorCore, ...]
    technology: str
    clock_hz: float
    dram_bandwidth_bytes_per_s: float = 0.0
    reference: str = ""


class FpgaArray(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An FPGA with a systolic array on it; the clock comes from its characterisation.

    Args:
        family: Whose RTL and characterisation serve.
        device: Nextpnr's name of the device, such as `25k`.
        package: Of the chip.
        speed: Grade.
        dsp_blocks: 18 x 18 multipliers.
        side: N of the N x N array.
        reference: Sources of the numbers.
    """

    family: Literal["ecp5"]
    device: Literal["12k", "25k", "45k", "85k"]
    package: str
    speed: Literal[6, 7, 8]
    dsp_blocks: int
    side: int
    reference: str = ""


class Gpu(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A graphics processor, and how networks run on it.

    Args:
        runtime: What compiles and executes.
        batch: Inputs that a network takes at once; latency and energy are those of a batch.
        product: The driver's name of the device, such as `NVIDIA H200`; empty for any.
        architecture: Compute capability, such as `sm_90`; empty to ask the device.
        multiprocessors: Their number.
        memory_bytes: Of the device.
        l2_bytes: Of the second-level cache.
        clock_hz: Highest clock by default.
        bandwidth_bytes_per_s: Of the memory.
        power_w: What the board may take.
        flops_per_s: Peak rates by precision, two operations a multiply-accumulate, no sparsity.
        reference: Sources of the numbers.
    """

    runtime: GpuRuntime = "torch"
    batch: int = 1
    product: str = ""
    architecture: str = ""
    multiprocessors: int = 0
    memory_bytes: int = 0
    l2_bytes: int = 0
    clock_hz: float = 0.0
    bandwidth_bytes_per_s: float = 0.0
    power_w: float = 0.0
    flops_per_s: dict[Precision, float] = {}
    reference: str = ""
