import numpy as np
import pytest

from hwnas.accelerators import Layers


@pytest.fixture
def layer():
    """Makes a table of one layer; what is not given is 1."""

    def make(kind=0, groups=1, k=1, c=1, r=1, s=1, oy=1, ox=1, stride_y=1, stride_x=1):
        row = [kind, groups, k, c, r, s, oy, ox, stride_y, stride_x]
        return Layers(np.array([row], dtype=np.int32), ("layer",))

    return make


@pytest.fixture
def convolution(layer):
    return layer(k=64, c=64, r=3, s=3, oy=56, ox=56)
