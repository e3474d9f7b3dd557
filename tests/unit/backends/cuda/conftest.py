import pytest

from hwnas.backends.cuda.torch_cuda import TorchCudaBackend
from hwnas.backends.cuda.torch_programs import ProgramCache
from hwnas.targets import Settings, get_target
from hwnas.testing.host_clock import HostClock


@pytest.fixture
def clock():
    return HostClock()


@pytest.fixture
def backend(clock):
    return TorchCudaBackend(clock, ProgramCache(lambda traced: traced))


@pytest.fixture
def gpu():
    """A GPU target by settings; float32 by default, as the processor computes it."""

    def target(**settings):
        return get_target("nvidia_h200").with_settings(
            Settings(**{"precision": "float32", **settings})
        )

    return target
