"""What a board says of itself, and what is refused as an answer."""

import os
import struct
import sys
from pathlib import Path

import msgspec
import pytest

from hwnas.errors import MeasurementError
from hwnas.tvm_worker.devices.facts import (
    DeviceFacts,
    elf_machine,
    facts_of_this_device,
    is_foreign,
    parse_facts,
)


@pytest.mark.skipif(sys.platform != "linux", reason="programs are ELF on Linux")
def test_this_machine_is_what_its_programs_are_for():
    facts = facts_of_this_device()

    assert facts.machine == elf_machine(Path(sys.executable).read_bytes())
    assert facts.cores == os.cpu_count()


def test_whoever_starts_a_server_can_say_that_it_is_emulated():
    facts = facts_of_this_device(emulated=True)

    assert facts.emulated
    assert "--emulated" in facts.why


@pytest.mark.parametrize(
    ("number", "machine"),
    [(62, "x86_64"), (183, "aarch64"), (40, "arm"), (999, "ELF machine 999")],
)
def test_architecture_of_a_library_is_read_from_its_header(number, machine):
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HH", 3, number)

    assert elf_machine(header) == machine


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"MZ" + bytes(100)])
def test_what_is_no_elf_file_has_no_architecture(content):
    assert elf_machine(content) == ""


def test_an_emulator_is_of_another_family_than_what_it_runs():
    assert is_foreign("aarch64", "x86_64")
    assert not is_foreign("arm", "aarch64")
    assert not is_foreign("x86_64", "x86_64")


def test_facts_survive_the_way():
    facts = DeviceFacts("aarch64", cores=4, cache_bytes=1 << 20, name="board")

    assert parse_facts(msgspec.json.encode(facts).decode()) == facts


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"machine": 1}', '{"machine": "a\\u001b[2J"}', '{"machine": "' + "a" * 100_000],
)
def test_other_answers_are_refused(content):
    with pytest.raises(MeasurementError):
        parse_facts(content)
