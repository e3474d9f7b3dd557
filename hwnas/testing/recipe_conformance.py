"""What every supernet recipe must do, as tests that a plug-in's author inherits.

In a test file of yours, with `pytest` collecting the inherited tests::

    class TestMyRecipe(RecipeConformance):
        @pytest.fixture
        def recipe(self):
            return MyRecipe

The networks have two blocks and the images 16 pixels a side, so that a training takes a second.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from hwnas.datasets.dataset import Dataset, load_dataset
from hwnas.errors import RunError
from hwnas.lowering.torch_module import TorchModule
from hwnas.spaces import ChoiceBlock, Decision, Presence, SearchSpace
from hwnas.spaces.inverted_residual import classifier, conv_unit, inverted_residual, network_input
from hwnas.training.checkpoint import load_supernet
from hwnas.training.path_gradients import Metrics
from hwnas.training.recipe import Recipe
from hwnas.training.supernet_training import TrainedSupernet, train_supernet

__all__ = ["RecipeConformance", "small_digits", "small_space"]

RESOLUTION = 16
IMAGES = 64


def small_space(name: str = "small") -> SearchSpace:
    """One block that is always there and one that need not be, on 1x16x16 images."""
    decisions = [Decision("depth", (1, 2))]
    blocks = [
        ChoiceBlock("input", partial(network_input, channels=1, resolution=RESOLUTION)),
        ChoiceBlock("stem", partial(conv_unit, width=8, kernel=3, stride=2)),
    ]
    for position in (1, 2):
        reads = {part: f"block.{position}.{part}" for part in ("kernel", "expand")}
        decisions += [Decision(reads["kernel"], (3, 5, 7)), Decision(reads["expand"], (2, 4))]
        blocks.append(
            ChoiceBlock(
                f"block.{position}",
                partial(inverted_residual, width=8),
                reads,
                present=Presence("depth", position) if position > 1 else None,
            )
        )
    blocks.append(ChoiceBlock("classifier", partial(classifier, classes=10)))
    return SearchSpace(name, tuple(decisions), tuple(blocks))


def small_digits() -> Dataset:
    """Some of the digits at 16 pixels a side."""
    full = load_dataset("digits", resolution=RESOLUTION)
    return replace(full, x_train=full.x_train[:IMAGES], y_train=full.y_train[:IMAGES])


class _KilledError(Exception):
    """Stands for a kill between two epochs."""


class RecipeConformance:
    """Tests of a recipe; give the fixture `recipe`."""

    epochs = 4
    """Enough for every phase of the recipe to have one."""

    @pytest.fixture
    def recipe(self) -> type[Recipe]:
        """The recipe's class."""
        raise NotImplementedError

    def test_it_has_a_name(self, recipe: type[Recipe]) -> None:
        """A word for the command line."""
        assert recipe.name
        assert recipe.name == recipe.name.strip().lower()

    def test_every_sub_net_runs_with_the_weights_cut_out_for_it(
        self, recipe: type[Recipe]
    ) -> None:
        """What is exported computes what the supernet computes."""
        trained = self._trained(recipe, seed=0)
        images = torch.from_numpy(small_digits().x_val[:8])
        space = trained.supernet.space
        for row in [*space.sample(3, np.random.default_rng(0)), space.largest().row()]:
            architecture = space.architecture(row)
            statistics = trained.supernet.calibrate(architecture, images)
            module = TorchModule(
                space.network(architecture), trained.supernet.weights(architecture, statistics)
            )
            module.eval()
            logits = trained.supernet.logits(architecture, images, statistics)
            with torch.no_grad():
                torch.testing.assert_close(module(images), logits, rtol=1e-4, atol=1e-4)

    def test_broken_at_any_epoch_it_goes_on_to_the_same_weights(
        self, recipe: type[Recipe], tmp_path: Path
    ) -> None:
        """Bit for bit, from whatever seed the second call is given."""
        whole = self._trained(recipe, seed=0)
        for last in range(1, self.epochs):
            path = tmp_path / f"{last}.pt"

            def kill(epoch: int, epochs: int, metrics: Metrics, last: int = last) -> None:
                del epochs, metrics
                if epoch == last:
                    raise _KilledError

            with pytest.raises(_KilledError):
                self._trained(recipe, seed=0, checkpoint=path, progress=kill)
            resumed = self._trained(recipe, seed=9, checkpoint=path, resume=True)

            _assert_equal(resumed.supernet, whole.supernet)
            assert [r["loss"] for r in resumed.rows] == [r["loss"] for r in whole.rows]

    def test_its_checkpoint_gives_the_supernet_back(
        self, recipe: type[Recipe], tmp_path: Path
    ) -> None:
        """For a later search, and for that of its own space alone."""
        path = tmp_path / "supernet.pt"
        trained = self._trained(recipe, seed=0, checkpoint=path)

        _assert_equal(load_supernet(path, trained.supernet.space), trained.supernet)
        with pytest.raises(RunError, match="asked for 'other'"):
            load_supernet(path, small_space("other"))

    def _trained(self, recipe: type[Recipe], seed: int, **more: object) -> TrainedSupernet:
        options = replace(recipe.defaults, epochs=self.epochs, batch_size=32)
        return train_supernet(
            small_space(),
            small_digits(),
            recipe,
            options,
            rng=np.random.default_rng(seed),
            **more,  # type: ignore[arg-type]
        )


def _assert_equal(first: torch.nn.Module, second: torch.nn.Module) -> None:
    left, right = first.state_dict(), second.state_dict()
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
