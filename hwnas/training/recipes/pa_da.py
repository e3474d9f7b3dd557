"""PA&DA: paths and images are drawn by the norms of their gradients.

Lu et al., PA&DA: Jointly Sampling PAth and DAta for Consistent NAS, CVPR 2023. Variance of the
gradients makes sub-nets' ranks inconsistent; it is least when candidates and images are drawn in
proportion to their gradients' norms. With s the smoothed norm of a candidate's gradient, or
||softmax(z) - onehot(y)||_2 of an image, which bounds the norm of its gradient, the next epoch
draws by

    p = tau * s / sum(s) + (1 - tau) / k,    tau = epoch / epochs

Losses are not divided by the probabilities. Decisions that make no candidates, such as depth and
image size, stay uniform.

Differs from the released code: a candidate's statistic is the norm of its whole gradient, which is
what the variance depends on, not the sum of the norms of its tensors; candidates and images that
were not seen yet count as the mean of the others. Where blocks share decisions so widely that
their joint options cannot be listed, each decision has probabilities of its own.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hwnas.errors import RunError, SpaceError
from hwnas.spaces import Architecture, SearchSpace
from hwnas.training.importance import Numbers, importance, smoothed
from hwnas.training.path_gradients import Metrics
from hwnas.training.recipe import Batch, TrainingContext
from hwnas.training.recipes.spos import Spos

__all__ = ["PaDa", "candidate_groups"]

MAX_JOINT_OPTIONS = 1024


class PaDa(Spos):
    """Importance sampling of candidates and images over separate candidates.

    Raises:
        SpaceError: No block has several candidates.
    """

    name = "pa-da"
    tasks = ("classification",)

    def __init__(self, context: TrainingContext) -> None:
        self._groups = candidate_groups(context.space)
        super().__init__(context)
        counts = context.space.option_counts
        self._counts = [tuple(int(counts[c]) for c in group) for group in self._groups]
        self._readers = [_readers(self.space, group) for group in self._groups]
        self._gates = [_gate(self.space, block) for block in range(len(self.space.blocks))]
        self._path_norms = [np.full(int(np.prod(c)), np.nan) for c in self._counts]
        self._image_scores = np.full(len(context.dataset.x_train), np.nan)
        self._set_probabilities(0)

    @property
    def path_norms(self) -> list[Numbers]:
        """Per group of decisions the smoothed norm of each joint option; NaN before the first."""
        return self._path_norms

    @property
    def image_scores(self) -> Numbers:
        """Last score of every training image, `(n,)`, from 0 to sqrt(2); NaN before the first."""
        return self._image_scores

    def begin_epoch(self, epoch: int) -> bool:
        """Fix the probabilities of the epoch."""
        self._set_probabilities(epoch)
        return False

    def order(self, epoch: int) -> Tensor:
        """Images drawn with replacement by importance; all of them once in the first epoch."""
        if epoch == 0:
            return super().order(epoch)
        n = len(self._image_scores)
        chosen = importance(self._image_scores, self._share(epoch))
        return torch.from_numpy(self.context.rng.choice(n, size=n, p=chosen))

    def draw(self, batch: Batch) -> list[Architecture]:
        """One path, every group of decisions by its probabilities."""
        del batch
        rng = self.context.rng
        row = self.space.sample(1, rng)[0]
        for group, counts, chances in zip(
            self._groups, self._counts, self._probabilities, strict=True
        ):
            row[list(group)] = np.unravel_index(rng.choice(len(chances), p=chances), counts)
        return [self.space.architecture(row)]

    def objective(
        self, index: int, logits: Tensor, teacher: Tensor | None, batch: Batch
    ) -> Tensor:
        """Cross-entropy; the images' scores are kept."""
        found = logits.detach().float().softmax(1)
        truth = functional.one_hot(batch.labels, found.shape[1])
        scores = torch.linalg.vector_norm(found - truth, dim=1)
        self._image_scores[batch.indices.cpu().numpy()] = scores.cpu().numpy()
        return super().objective(index, logits, teacher, batch)

    def step(self, paths: list[Architecture], batch: Batch) -> Metrics:
        """One step; the norms of the candidates' gradients are kept."""
        metrics = super().step(paths, batch)
        for path in paths:
            self._keep_norms(path)
        return metrics

    def state(self) -> dict[str, Any]:
        """Norms of candidates and scores of images."""
        return {
            "path_norms": [torch.from_numpy(norms.copy()) for norms in self._path_norms],
            "image_scores": torch.from_numpy(self._image_scores.copy()),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take norms and scores back.

        Raises:
            RunError: They are of another space or data set.
        """
        try:
            norms = [_numbers(kept) for kept in state["path_norms"]]
            scores = _numbers(state["image_scores"])
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            raise RunError(f"the checkpoint's statistics are damaged: {error}") from error
        shapes = [known.shape for known in (*self._path_norms, self._image_scores)]
        if [kept.shape for kept in (*norms, scores)] != shapes:
            raise RunError("the checkpoint's statistics are of other candidates or other images")
        self._path_norms, self._image_scores = norms, scores

    def _share(self, epoch: int) -> float:
        return epoch / self.options.epochs

    def _set_probabilities(self, epoch: int) -> None:
        self._probabilities = [importance(norms, self._share(epoch)) for norms in self._path_norms]

    def _keep_norms(self, path: Architecture) -> None:
        scale = float(self.context.scale(torch.ones((), device=self.context.device)))
        norms: dict[int, float] = {}
        for group, counts, readers, kept in zip(
            self._groups, self._counts, self._readers, self._path_norms, strict=True
        ):
            for block in readers:
                if block not in norms and self._is_present(path, block):
                    norms[block] = self._gradient_norm(path, block) / scale
            found = [norms[block] for block in readers if block in norms]
            if found and np.isfinite(found).all():
                option = np.ravel_multi_index([path.indices[c] for c in group], counts)
                kept[option] = smoothed(kept[option], float(np.mean(found)))

    def _is_present(self, path: Architecture, block: int) -> bool:
        gate = self._gates[block]
        return gate is None or path.indices[gate[0]] in gate[1]

    def _gradient_norm(self, path: Architecture, block: int) -> float:
        """Norm of the gradient of the candidate that a block takes; 0 for one without weights."""
        choice = tuple([path.indices[column] for column in self.space.columns_of(block)])
        plan = self.supernet.block_plan(block, choice)
        stored = self.supernet.shared_parameters()
        gradients = [
            stored[self.supernet.stored_name(block, choice, local)].grad
            for local in plan.weight_shapes
            if local not in plan.statistics
        ]
        norms = [torch.linalg.vector_norm(g) for g in gradients if g is not None]
        return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0


def candidate_groups(space: SearchSpace) -> list[tuple[int, ...]]:
    """Columns of decisions that are drawn together because one block reads them together.

    Decisions that say whether a block is there belong to no group.

    Raises:
        SpaceError: There is no decision among candidates.
    """
    gates = {block.present.decision for block in space.blocks if block.present is not None}
    groups: list[set[int]] = []
    for index, block in enumerate(space.blocks):
        names = dict(zip(block.decisions, space.columns_of(index), strict=True))
        read = {names[name] for name in block.reads.values() if name not in gates}
        read = {column for column in read if space.option_counts[column] > 1}
        joined = [group for group in groups if group & read]
        groups = [group for group in groups if not group & read]
        if read:
            groups.append(read.union(*joined))
    if not groups:
        raise SpaceError(
            f"pa-da draws among the candidates of a block, but no block of {space.name} has "
            "several; train with `sandwich`"
        )
    found: list[tuple[int, ...]] = []
    for group in groups:
        columns = sorted(group)
        size = float(np.prod(space.option_counts[columns], dtype=np.float64))
        listed = [tuple(columns)] if size <= MAX_JOINT_OPTIONS else [(c,) for c in columns]
        found += listed
    return sorted(found)


def _numbers(kept: Tensor) -> Numbers:
    return kept.to(torch.float64).numpy().copy()


def _readers(space: SearchSpace, group: tuple[int, ...]) -> list[int]:
    """Blocks that read a decision of the group."""
    names = {space.decisions[column].name for column in group}
    return [i for i, block in enumerate(space.blocks) if names & set(block.reads.values())]


def _gate(space: SearchSpace, block: int) -> tuple[int, frozenset[int]] | None:
    """Column and option indices under which a block is there; None where it always is."""
    present = space.blocks[block].present
    if present is None:
        return None
    column = space.columns_of(block)[0]  # the gate stands first
    options = space.decisions[column].options
    there = [i for i, o in enumerate(options) if isinstance(o, int) and o >= present.minimum]
    return column, frozenset(there)
