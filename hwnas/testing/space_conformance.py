"""What every search space must do, as tests that a plug-in's author inherits.

In a test file of yours, with `pytest` collecting the inherited tests::

    class TestMySpace(SpaceConformance):
        @pytest.fixture
        def space(self):
            return my_space()

Spaces of any size will do: what is not counted in full is sampled.
"""

import numpy as np

from hwnas.graph import OPSET_VERSION, count_graph, kernel_key, shape_of
from hwnas.lowering import check_onnx, to_onnx
from hwnas.spaces import Architecture, Fragment, Population, SearchSpace

__all__ = ["SpaceConformance", "fragments_of"]

_SAMPLES = 6
_BLOCK_SLOTS = 40  # choices of one block that are looked at


def fragments_of(space: SearchSpace, architecture: Architecture) -> list[Fragment]:
    """Returns the fragment of every block, absent ones included.

    Args:
        space: The space.
        architecture: One of its members.
    """
    return [
        space.fragment(block, tuple(architecture.indices[c] for c in space.columns_of(block)))
        for block in range(len(space.blocks))
    ]


class SpaceConformance:
    """The tests; a subclass brings the fixture `space`."""

    def test_option_counts_are_those_of_the_decisions(self, space: SearchSpace) -> None:
        """One count a decision, and every decision shapes some block."""
        read = {name for block in space.blocks for name in block.decisions}

        assert space.option_counts.dtype == np.uint8
        assert space.option_counts.tolist() == [len(d.options) for d in space.decisions]
        assert read == {decision.name for decision in space.decisions}

    def test_samples_are_in_range_and_canonical(self, space: SearchSpace) -> None:
        """Shape, type, range; the seed alone decides."""
        population = space.sample(200, np.random.default_rng(0))

        assert population.dtype == np.uint8
        assert population.shape == (200, len(space.decisions))
        assert (population < space.option_counts).all()
        assert np.array_equal(space.canonicalise(population), population)
        assert np.array_equal(space.sample(200, np.random.default_rng(0)), population)

    def test_canonicalising_twice_is_canonicalising_once(self, space: SearchSpace) -> None:
        """It returns a copy, and changes nothing but inactive decisions to option 0."""
        drawn = _uniform(space, 200, seed=1)
        kept = drawn.copy()

        once = space.canonicalise(drawn)

        assert np.array_equal(drawn, kept)
        assert np.array_equal(space.canonicalise(once), once)
        assert (once[once != drawn] == 0).all()

    def test_inactive_decisions_do_not_change_the_network(self, space: SearchSpace) -> None:
        """A row and its canonical form have the same fragments, hence the same network."""
        for row in _uniform(space, 50, seed=2):
            raw = Architecture(space.name, tuple(int(i) for i in row))
            canonical = space.architecture(row)

            keys = [[f.key for f in fragments_of(space, a)] for a in (raw, canonical)]

            assert keys[0] == keys[1]

    def test_active_decisions_change_the_network(self, space: SearchSpace) -> None:
        """Different canonical architectures are different networks: nothing is counted twice."""
        population = np.unique(space.sample(60, np.random.default_rng(3)), axis=0)

        networks = {
            tuple(f.key for f in fragments_of(space, space.architecture(row)))
            for row in population
        }

        assert len(networks) == len(population)

    def test_options_and_architectures_are_inverse(self, space: SearchSpace) -> None:
        """By way of options by name, and by way of rows."""
        for row in space.sample(20, np.random.default_rng(4)):
            architecture = space.architecture(row)

            assert np.array_equal(architecture.row(), row)
            assert space.from_options(space.options(architecture)) == architecture

    def test_smallest_and_largest_bracket_the_work(self, space: SearchSpace) -> None:
        """Options go from least to most work."""
        low = _macs(space, space.smallest())
        high = _macs(space, space.largest())

        for row in space.sample(20, np.random.default_rng(5)):
            assert low <= _macs(space, space.architecture(row)) <= high

    def test_a_later_option_is_never_less_work(self, space: SearchSpace) -> None:
        """One decision at a time, all others kept; but for spaces that keep a published order."""
        if not space.is_ordered:
            return
        for row in space.sample(3, np.random.default_rng(6)):
            for column, count in enumerate(space.option_counts):
                work = []
                for option in range(count):
                    changed = row.copy()
                    changed[column] = option
                    work.append(_macs(space, space.architecture(changed)))
                assert work == sorted(work), space.decisions[column].name

    def test_fragments_joined_are_the_network(self, space: SearchSpace) -> None:
        """The same operators, multiply-accumulates and parameters, counted block by block."""
        for architecture in _members(space):
            whole = count_graph(space.network(architecture))
            parts = [count_graph(f.graph) for f in fragments_of(space, architecture)]

            assert sum(part.nodes for part in parts) == whole.nodes
            assert sum(part.macs for part in parts) == whole.macs
            assert sum(part.params for part in parts) == whole.params

    def test_equal_choices_share_one_fragment(self, space: SearchSpace) -> None:
        """And keys are those of the fragments' graphs."""
        for block in range(len(space.blocks)):
            for choice in list(space.slots(block))[:_BLOCK_SLOTS]:
                fragment = space.fragment(block, choice)

                assert space.fragment(block, choice) is fragment
                assert len(fragment.key) == 32
                assert fragment.is_empty or kernel_key(fragment.graph) == fragment.key

    def test_networks_are_valid_onnx_of_batch_one(self, space: SearchSpace) -> None:
        """ONNX's checker and shape inference agree with the builder."""
        for architecture in _members(space):
            graph = space.network(architecture)
            proto = to_onnx(graph)

            check_onnx(proto)

            assert [opset.version for opset in proto.opset_import] == [OPSET_VERSION]
            assert all(shape_of(value)[0] == 1 for value in (*graph.inputs, *graph.outputs))

    def test_every_operator_is_named_by_its_block(self, space: SearchSpace) -> None:
        """Backends cut the compiled network at these names."""
        blocks = {block.name for block in space.blocks}

        for node in space.network(space.largest()).nodes:
            assert node.name is not None
            block, slash, rest = node.name.partition("/")
            assert (block in blocks and slash and rest) or node.op_type == "Identity"

    def test_the_last_block_of_every_network_has_the_same_output_shape(
        self, space: SearchSpace
    ) -> None:
        """Every architecture solves the same task."""
        shapes = {tuple(shape_of(v) for v in space.network(a).outputs) for a in _members(space)}

        assert len(shapes) == 1

    def test_cardinality_bounds_the_product_of_option_counts(self, space: SearchSpace) -> None:
        """Conditional decisions only take architectures away."""
        product = 1
        for count in space.option_counts.tolist():
            product *= count

        assert 1 <= space.cardinality <= product


def _macs(space: SearchSpace, architecture: Architecture) -> int:
    return sum(count_graph(f.graph).macs for f in fragments_of(space, architecture))


def _members(space: SearchSpace) -> list[Architecture]:
    rows = space.sample(_SAMPLES - 2, np.random.default_rng(7))
    return [space.smallest(), space.largest(), *(space.architecture(row) for row in rows)]


def _uniform(space: SearchSpace, n: int, seed: int) -> Population:
    """Rows that are not canonical."""
    shape = (n, len(space.decisions))
    return np.random.default_rng(seed).integers(0, space.option_counts, shape, dtype=np.uint8)
