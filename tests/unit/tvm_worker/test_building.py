"""Targets of LLVM, as TVM takes them."""

import pytest

from hwnas.errors import TargetError
from hwnas.tvm_worker.messages import CodeTarget

pytest.importorskip("tvm", reason="TVM is not installed")

from hwnas.tvm_worker.building import llvm_target


def test_the_host_is_named_by_its_own_processor():
    assert str(llvm_target(CodeTarget()).attrs["mcpu"]) not in ("", "host", "generic")


def test_a_processor_that_llvm_does_not_know_is_refused():
    with pytest.raises(TargetError, match=r"no processor 'cortex-a9000'.*device file"):
        llvm_target(CodeTarget("cortex-a9000", "aarch64-linux-gnu"))


def test_every_board_of_ours_is_known_to_llvm():
    from hwnas.targets import available_targets, get_target

    for processor in filter(None, (get_target(n).processor for n in available_targets())):
        target = llvm_target(CodeTarget(processor.cpu, processor.triple, processor.features))

        assert str(target.attrs["mcpu"]) == processor.cpu
