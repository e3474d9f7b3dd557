"""Linkers: which is taken, what they make, and what is said where there is none."""

import shutil
import sys
from importlib.util import find_spec

import pytest

from hwnas.errors import TargetError
from hwnas.tvm_worker import cross_compiling
from hwnas.tvm_worker.cross_compiling import Linker, architecture_of, find_linker
from hwnas.tvm_worker.devices.facts import elf_machine, facts_of_this_device
from hwnas.tvm_worker.messages import CodeTarget

AARCH64 = CodeTarget("cortex-a72", "aarch64-linux-gnu")
SOURCE = "int answer(void) { return 42; }\n"


def test_the_systems_cross_compiler_makes_a_library_for_the_device(tmp_path):
    if shutil.which("aarch64-linux-gnu-g++") is None:
        pytest.skip("aarch64-linux-gnu-g++ is missing: apt-get install g++-aarch64-linux-gnu")
    linker = find_linker(AARCH64)

    _link(linker, tmp_path)

    assert linker.command[0].endswith("aarch64-linux-gnu-g++")
    assert elf_machine((tmp_path / "made.so").read_bytes()) == "aarch64"


def test_zig_serves_where_there_is_no_cross_compiler(tmp_path, monkeypatch):
    if find_spec("ziglang") is None:
        pytest.skip("ziglang is missing: pip install ziglang")
    monkeypatch.setenv("PATH", str(tmp_path))
    linker = find_linker(AARCH64)

    _link(linker, tmp_path)

    assert linker.command[:3] == (sys.executable, "-m", "ziglang")
    assert elf_machine((tmp_path / "made.so").read_bytes()) == "aarch64"


def test_no_linker_is_an_error_with_both_remedies(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(cross_compiling, "find_spec", lambda _name: None)

    with pytest.raises(TargetError) as raised:
        find_linker(AARCH64)

    assert "aarch64-linux-gnu" in str(raised.value)
    assert "apt-get install g++-aarch64-linux-gnu" in str(raised.value)
    assert "pip install ziglang" in str(raised.value)


def test_android_wants_its_own_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path))
    android = CodeTarget("generic", "aarch64-linux-android")

    with pytest.raises(TargetError, match="ANDROID_NDK_HOME"):
        find_linker(android)

    program = tmp_path / "toolchains/llvm/prebuilt/linux/bin/aarch64-linux-android24-clang++"
    program.parent.mkdir(parents=True)
    program.touch()
    assert find_linker(android).command == (str(program),)


def test_what_a_linker_says_is_passed_on(tmp_path):
    linker = Linker((sys.executable, "-c", "raise SystemExit('no such symbol')"), "triple")

    with pytest.raises(TargetError, match="no such symbol"):
        linker(str(tmp_path / "made.so"), ["missing.o"])


def test_code_without_a_triple_is_for_this_machine():
    assert architecture_of(CodeTarget()) == facts_of_this_device().machine
    assert architecture_of(AARCH64) == "aarch64"


def _link(linker, folder):
    source = folder / "source.c"
    source.write_text(SOURCE)
    linker(str(folder / "made.so"), [str(source)])
