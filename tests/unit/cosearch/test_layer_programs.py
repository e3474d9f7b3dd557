import numpy as np
import pytest

from hwnas.accelerators import layers_of
from hwnas.cosearch.layer_programs import compile_layers
from hwnas.errors import LoweringError, SpaceError
from hwnas.spaces import Architecture, get_space


@pytest.mark.parametrize("name", ["resnet9", "unet", "mbconv-digits"])
def test_a_networks_layers_are_those_of_its_graph(name):
    space = get_space(name)
    layers, (program,) = compile_layers([space])
    rows = space.sample(5, np.random.default_rng(0))

    found = program.layers(rows)

    for row, numbers in zip(rows, found, strict=True):
        network = space.network(Architecture(space.name, tuple(row.tolist())))
        np.testing.assert_array_equal(
            layers.table[numbers[numbers >= 0]], layers_of(network).table
        )
        names = program.names(row)
        assert [bool(name) for name in names] == (numbers >= 0).tolist()


def test_layers_that_spaces_share_stand_once():
    space = get_space("resnet9")

    twice, programs = compile_layers([space, space])

    assert len(twice) == len(compile_layers([space])[0])
    assert len({layer.tobytes() for layer in twice.table}) == len(twice)
    np.testing.assert_array_equal(programs[0].tables[2], programs[1].tables[2])


def test_a_layer_that_no_dataflow_maps_is_named(monkeypatch):
    def refuse(graph):
        raise LoweringError("operator LSTM ('lstm') cannot be mapped")

    monkeypatch.setattr("hwnas.cosearch.layer_programs.layers_of", refuse)

    with pytest.raises(SpaceError, match="'resnet9' cannot be co-searched: operator LSTM"):
        compile_layers([get_space("resnet9")])
