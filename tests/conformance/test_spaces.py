"""Every space that is installed keeps the contract."""

import pytest

from hwnas.spaces import available_spaces, get_space
from hwnas.testing.space_conformance import SpaceConformance


class TestSpaces(SpaceConformance):
    @pytest.fixture(params=[*available_spaces(), "proxyless-mobile@64", "mbconv-digits@17"])
    def space(self, request):
        return get_space(request.param)
