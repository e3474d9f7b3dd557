"""The spaces against what their papers say, and against formulas that do not use the graph."""

import pytest

from hwnas.graph import count_graph
from hwnas.spaces import get_space
from hwnas.spaces.inverted_residual import make_divisible
from hwnas.testing.space_conformance import fragments_of

PROXYLESS_STAGES = ((24, 4, 2), (40, 4, 2), (80, 4, 2), (96, 4, 1), (192, 4, 2), (320, 1, 1))


def same(side, stride):
    return -(-side // stride)


def mbconv_macs(side, c, k, kernel, expand, stride):
    inner, out = c * expand, same(side, stride)
    return (
        (side**2 * c * inner if expand > 1 else 0)
        + out**2 * inner * kernel**2
        + out**2 * inner * k
    )


def proxyless_macs(operator, resolution, *, first_only=False):
    side = same(resolution, 2)
    macs = side**2 * 32 * 3 * 9 + mbconv_macs(side, 32, 16, 3, 1, 1)
    c = 16
    for width, depth, stride in PROXYLESS_STAGES:
        for position in range(1 if first_only else depth):
            here = stride if position == 0 else 1
            macs += mbconv_macs(side, c, width, *operator, here)
            side, c = same(side, here), width
    return macs + side**2 * c * 1280 + 1280 * 1000


def test_proxyless_mobile_has_21_decisions_of_six_or_seven_operators():
    space = get_space("proxyless-mobile")
    counts = space.option_counts.tolist()

    assert len(counts) == 21
    assert [counts.index(6), counts.count(6), counts.count(7)] == [0, 6, 15]
    assert space.cardinality == 6**6 * 7**15


@pytest.mark.parametrize("resolution", [64, 160, 224])
@pytest.mark.parametrize("operator", [(3, 3), (5, 3), (7, 6)])
def test_proxyless_mobile_counts_what_the_formula_says(operator, resolution):
    space = get_space(f"proxyless-mobile@{resolution}")
    uniform = space.from_options(dict.fromkeys((d.name for d in space.decisions), operator))

    assert count_graph(space.network(uniform)).macs == proxyless_macs(operator, resolution)


def test_proxyless_mobile_brackets_the_published_networks():
    # Cai et al., ICLR 2019: networks of about 320 M (mobile), MobileNetV2 1.0 has 300 M.
    space = get_space("proxyless-mobile")
    low, high = (count_graph(space.network(a)).macs for a in (space.smallest(), space.largest()))

    assert low == proxyless_macs((3, 3), 224, first_only=True)
    assert high == proxyless_macs((7, 6), 224)
    assert low < 300e6 < 320e6 < high
    assert 95e6 < low < 110e6
    assert 600e6 < high < 615e6


def test_a_member_like_the_published_proxyless_mobile_has_about_its_published_size():
    # Cai et al., ICLR 2019, figure 4 and table 2: ProxylessNAS-Mobile has 320 M MACs and 4.1 M
    # parameters.
    # The released network has 32 channels in the first stage, the search space 24.
    space = get_space("proxyless-mobile")
    published = (
        *((5, 3), (3, 3), (), ()),
        *((7, 3), (3, 3), (5, 3), (5, 3)),
        *((7, 6), (5, 3), (5, 3), (5, 3)),
        *((5, 6), (5, 3), (5, 3), (5, 3)),
        *((7, 6), (7, 6), (7, 3), (7, 3)),
        (7, 6),
    )
    options = dict(zip((d.name for d in space.decisions), published, strict=True))

    counts = count_graph(space.network(space.from_options(options)))

    assert counts.macs == pytest.approx(320e6, rel=0.1)
    assert counts.params == pytest.approx(4.1e6, rel=0.05)


def test_mbconv_digits_has_millions_of_architectures_on_a_small_image():
    space = get_space("mbconv-digits")
    low, high = (count_graph(space.network(a)) for a in (space.smallest(), space.largest()))

    assert space.cardinality >= 1e6
    assert 0.5e6 < low.macs < 2e6 < 8e6 < high.macs < 20e6
    assert low.params < 20_000 < high.params < 500_000


def test_ofa_mbv3_has_the_published_size():
    # Cai et al., ICLR 2020: "((3 x 3)^2 + (3 x 3)^3 + (3 x 3)^4)^5, about 2 x 10^19", a resolution
    space = get_space("ofa-mbv3")

    assert len(space.decisions) == 46
    assert len(space.decisions[0].options) == 25
    assert space.cardinality == 25 * (9**2 + 9**3 + 9**4) ** 5
    assert space.cardinality > 1e19


def test_ofa_mbv3_with_a_given_image_side_does_not_decide_on_it():
    elastic, fixed = get_space("ofa-mbv3"), get_space("ofa-mbv3@160")
    side = elastic.decisions[0].options.index(160)
    largest = fixed.largest()
    same = elastic.architecture((side, *largest.indices))

    assert fixed.decisions == elastic.decisions[1:]
    assert fixed.cardinality == (9**2 + 9**3 + 9**4) ** 5
    pairs = zip(fragments_of(fixed, largest), fragments_of(elastic, same), strict=True)
    assert all(a.key == b.key for a, b in pairs)


def test_ofa_mbv3_contains_something_like_mobilenet_v3_large():
    # Howard et al., ICCV 2019: MobileNetV3-Large 1.0 has 219 M MACs and 5.4 M parameters.
    space = get_space("ofa-mbv3")
    low, high = (count_graph(space.network(a)) for a in (space.smallest(), space.largest()))

    assert low.macs < 219e6 < high.macs
    assert low.params < 5.4e6 < high.params


def test_the_image_side_of_ofa_reaches_every_block():
    space = get_space("ofa-mbv3")
    small, large = space.smallest(), space.smallest()
    large = type(small)(small.space, (24, *small.indices[1:]))

    pairs = zip(fragments_of(space, small), fragments_of(space, large), strict=True)

    assert all(a.key != b.key for a, b in pairs if not a.is_empty)


@pytest.mark.parametrize(
    ("width", "wanted"), [(1, 8), (8, 8), (11, 16), (12, 16), (16.5, 16), (18, 24), (100, 104)]
)
def test_widths_are_rounded_as_in_mobilenet_v2(width, wanted):
    assert make_divisible(width) == wanted
    assert wanted >= 0.9 * width
