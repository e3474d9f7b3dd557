"""Every backend that is installed keeps the contract, on every device that names it."""

import pytest

from hwnas.backends import available_backends
from hwnas.targets import available_targets, get_target
from hwnas.testing.backend_conformance import BackendConformance


class TestBackends(BackendConformance):
    @pytest.fixture(params=available_targets())
    def target(self, request):
        return get_target(request.param)


def test_every_backend_is_named_by_a_device_and_every_device_names_a_backend():
    named = {get_target(name).backend for name in available_targets()}

    assert named == set(available_backends())
