"""What a board says about itself, and whether it is one: emulated processors give no times.

Asked on the board by `server`, read at the other end. Neither needs TVM.
"""

import os
import platform
import re
import struct
from importlib import metadata
from pathlib import Path

import msgspec

from hwnas.errors import MeasurementError

__all__ = ["DeviceFacts", "elf_machine", "facts_of_this_device", "is_foreign", "parse_facts"]

_ELF_MAGIC = b"\x7fELF"
_MACHINES = {3: "i386", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
"""`e_machine` of the ELF specification."""
_FAMILIES = {"i386": "x86", "x86_64": "x86", "arm": "arm", "aarch64": "arm"}
_HEADER_BYTES = 20
_LARGEST_REPLY = 1 << 16
_MOST_TEXT = 200


class DeviceFacts(msgspec.Struct, frozen=True):
    """What runs at the other end.

    Args:
        machine: Architecture of its programs, such as `aarch64`.
        emulated: Whether another processor imitates this one.
        why: What shows it.
        processor: Its model.
        cores: Logical processors.
        cache_bytes: Size of its last cache; 0 if unknown.
        tvm: Version of TVM.
        name: Its host name.
    """

    machine: str
    emulated: bool = False
    why: str = ""
    processor: str = ""
    cores: int = 0
    cache_bytes: int = 0
    tvm: str = ""
    name: str = ""


def facts_of_this_device(*, emulated: bool = False) -> DeviceFacts:
    """Look at the machine that this runs on; never raises.

    Args:
        emulated: Said by whoever started it; true in any case if it is found to be so.
    """
    machine = _machine()
    why = "started with --emulated" if emulated else _emulation(machine)
    return DeviceFacts(
        machine=machine,
        emulated=bool(why),
        why=why,
        processor=_processor(),
        cores=os.cpu_count() or 0,
        cache_bytes=_last_cache_bytes(Path("/sys/devices/system/cpu/cpu0/cache")),
        tvm=_tvm_version(),
        name=platform.node(),
    )


def parse_facts(content: str) -> DeviceFacts:
    """Read what a board said.

    Raises:
        MeasurementError: It is no such answer.
    """
    if len(content) > _LARGEST_REPLY:
        raise MeasurementError(f"the device described itself in {len(content)} characters")
    try:
        facts = msgspec.json.decode(content, type=DeviceFacts)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise MeasurementError(f"the device described itself in no known form: {error}") from error
    texts = (facts.machine, facts.why, facts.processor, facts.tvm, facts.name)
    if any(len(text) > _MOST_TEXT or not text.isprintable() for text in texts):
        raise MeasurementError("the device described itself in no known form: odd text")
    return facts


def elf_machine(content: bytes) -> str:
    """Architecture of a program or library by its first 20 bytes; empty if it is not ELF."""
    if len(content) < _HEADER_BYTES or not content.startswith(_ELF_MAGIC):
        return ""
    order = "<" if content[5] == 1 else ">"
    (number,) = struct.unpack_from(order + "H", content, 18)
    return _MACHINES.get(number, f"ELF machine {number}")


def is_foreign(program: str, machine: str) -> bool:
    """Whether a program of one architecture runs on another only under an emulator."""
    return _FAMILIES.get(program, program) != _FAMILIES.get(machine, machine)


def _emulation(machine: str) -> str:
    """What shows that the processor is imitated, or an empty string.

    User-mode emulators answer `/proc/self/exe` themselves, with the imitated program. By way of
    the thread the kernel answers, with the emulator.
    """
    try:
        with Path("/proc/thread-self/exe").open("rb") as file:
            real = elf_machine(file.read(_HEADER_BYTES))
    except OSError:
        real = ""
    if real and is_foreign(real, machine):
        return f"a {machine} program under an emulator that is itself {real}"
    model = _read(Path("/proc/device-tree/compatible")) + _read(
        Path("/sys/class/dmi/id/sys_vendor")
    )
    if machine != "x86_64" and ("dummy-virt" in model or "QEMU" in model):
        return "a virtual machine of QEMU"
    return ""


def _machine() -> str:
    found = {"arm64": "aarch64", "amd64": "x86_64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    if struct.calcsize("P") == 4:  # 32-bit programs under a 64-bit kernel
        return {"aarch64": "arm", "x86_64": "i386"}.get(found, found)
    return found


def _processor() -> str:
    for line in _read(Path("/proc/cpuinfo")).splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()[:_MOST_TEXT]
    model = _read(Path("/proc/device-tree/model")).strip("\x00").strip()
    return model[:_MOST_TEXT] if model.isprintable() else ""


def _last_cache_bytes(folder: Path) -> int:
    """Size of the largest cache that the system lists for a core."""
    units = {"": 1, "K": 1 << 10, "M": 1 << 20}
    found = [0]
    for file in folder.glob("index*/size"):
        size = re.fullmatch(r"(\d+)([KM]?)\s*", _read(file))
        if size:
            found.append(int(size[1]) * units[size[2]])
    return max(found)


def _tvm_version() -> str:
    try:
        return metadata.version("apache-tvm")
    except metadata.PackageNotFoundError:
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[:_LARGEST_REPLY]
    except OSError:
        return ""
