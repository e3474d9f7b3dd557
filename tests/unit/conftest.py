"""A small space and data set, so that training takes a second."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from hwnas.datasets.dataset import load_dataset
from hwnas.spaces import ChoiceBlock, Decision, Presence, SearchSpace
from hwnas.spaces.inverted_residual import classifier, conv_unit, inverted_residual, network_input


@pytest.fixture(autouse=True)
def _one_thread():
    """Small tensors gain nothing from several threads, and results then do not depend on them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_space():
    """Two blocks at 8x8 pixels, the second of which can be absent."""

    def make(name="tiny"):
        decisions = [Decision("depth", (1, 2))]
        blocks = [
            ChoiceBlock("input", partial(network_input, channels=1, resolution=16)),
            ChoiceBlock("stem", partial(conv_unit, width=8, kernel=3, stride=2)),
        ]
        for position in (1, 2):
            reads = {part: f"block.{position}.{part}" for part in ("kernel", "expand")}
            decisions += [Decision(reads["kernel"], (3, 5, 7)), Decision(reads["expand"], (2, 4))]
            present = Presence("depth", position) if position > 1 else None
            emit = partial(inverted_residual, width=8, squeeze_excite=True)
            blocks.append(ChoiceBlock(f"block.{position}", emit, reads, present=present))
        blocks.append(ChoiceBlock("classifier", partial(classifier, classes=10)))
        return SearchSpace(name, tuple(decisions), tuple(blocks))

    return make


@pytest.fixture(scope="session")
def space(make_space):
    return make_space()


@pytest.fixture(scope="session")
def digits():
    """The digits at 16x16 pixels, with 256 training images."""
    full = load_dataset("digits", resolution=16)
    return replace(full, name="tiny", x_train=full.x_train[:256], y_train=full.y_train[:256])
