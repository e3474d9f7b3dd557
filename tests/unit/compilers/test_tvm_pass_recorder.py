import pytest


@pytest.fixture
def recorder(tvm):
    from hwnas.compilers.tvm_pass_recorder import PassRecorder

    return PassRecorder()


def test_passes_of_a_compilation_are_timed_and_its_kernels_listed(tvm, llvm, network, recorder):
    from hwnas.compilers.tvm_annotation import describe_kernels

    with tvm.transform.PassContext(opt_level=3, instruments=[recorder]):
        tvm.compile(network, target=llvm, relax_pipeline="hwnas")

    times = {each.name: each for each in recorder.times()}
    assert times["FuseOps"].runs == 1
    assert times["hwnas.Pipeline"].total_s > times["hwnas.Pipeline"].own_s > 0.0
    assert times["hwnas.Pipeline"].total_s > times["FuseOps"].total_s
    own = [each.own_s for each in recorder.times()]
    assert own == sorted(own, reverse=True)
    naive = tvm.relax.get_pipeline("hwnas", build=False)(network)
    expected = {kernel.key: kernel for kernel in describe_kernels(naive).values()}
    assert {kernel.key: kernel for kernel in recorder.kernels()} == expected


def test_module_that_is_fused_already_is_listed_too(tvm, llvm, network, recorder):
    from hwnas.compilers.tvm_annotation import describe_kernels

    naive = tvm.relax.get_pipeline("hwnas", build=False)(network)

    with tvm.transform.PassContext(opt_level=3, instruments=[recorder]):
        tvm.compile(naive, target=llvm)

    found = {kernel.key for kernel in describe_kernels(naive).values()}
    assert {kernel.key for kernel in recorder.kernels()} == found


def test_before_any_compilation_there_is_nothing(recorder):
    assert recorder.times() == ()
    assert recorder.kernels() == ()
