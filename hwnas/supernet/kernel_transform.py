"""The elastic supernet with learned transformations from large kernels to small ones.

Cai et al., Once-for-All: Train One Network and Specialize It for Efficient Deployment, ICLR 2020,
section 3.3 ("elastic kernel size"). The centre of a kernel plays two parts, as itself and as the
middle of a larger kernel. A matrix between them relieves the one weight of both:

    w5 = M5 vec(centre 5x5 of w7),    w3 = M3 vec(centre 3x3 of w5)

with one pair of matrices for each layer, which all its channels share. They are a chain: the 3x3
kernel is made from the transformed 5x5 one. They start as identities: an untrained supernet gives
plain centre crops.
"""

from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwnas.spaces import SearchSpace
from hwnas.supernet.concatenated import joined
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.view import View, sub_slices

__all__ = ["KernelTransformSupernet"]

_Sides = tuple[int, int]
_Links = tuple[tuple[_Sides, nn.Parameter], ...]


class KernelTransformSupernet(ElasticSupernet):
    """An elastic supernet whose smaller kernels are learned functions of the larger ones.

    Every weight of four axes whose last two differ between choices, and lie in each other, has the
    matrices `weight/to5x5`, `weight/to3x3`, ... beside it. The other weights are those that
    `ElasticSupernet` draws from the same generator.

    Args:
        space: As for `Supernet`.
        generator: As for `Supernet`; the matrices need none.
        zero_residual_scale: As for `Supernet`.
    """

    sharing = "kernel-transform"

    def __init__(
        self,
        space: SearchSpace,
        generator: torch.Generator | None = None,
        *,
        zero_residual_scale: bool = False,
    ) -> None:
        super().__init__(space, generator, zero_residual_scale=zero_residual_scale)
        self._links: dict[nn.Parameter, _Links] = {}
        for name, sides in sorted(self._kernel_sides().items()):
            links = []
            for side in sides[1:]:
                matrix = nn.Parameter(torch.eye(prod(side)))
                stored = f"{name}/to{side[0]}x{side[1]}"
                self._names[stored] = stored.replace(".", ":")
                self.register_parameter(self._names[stored], matrix)
                links.append((side, matrix))
            self._links[getattr(self, self._names[name])] = tuple(links)

    def cut(self, view: View) -> Tensor:
        """A prefix of the channels, then from each kernel size to the next smaller one."""
        links = self._links.get(view.parameter)
        if links is None or view.slices is None:
            return super().cut(view)
        channels, (rows, columns) = view.slices[:2], view.slices[2:]
        wanted = (rows.stop - rows.start, columns.stop - columns.start)
        kernel = view.parameter[channels]
        for side, matrix in links:
            if kernel.shape[2:] == wanted:
                break
            slices = sub_slices(tuple(kernel.shape), (*kernel.shape[:2], *side))
            centre = kernel if slices is None else kernel[slices]
            kernel = functional.linear(centre.flatten(2), matrix).view(centre.shape)
        return joined(kernel, view.pieces)

    def _kernel_sides(self) -> dict[str, list[_Sides]]:
        """Sides of every stored kernel that has several, the largest first."""
        found: dict[str, set[_Sides]] = {}
        for block in range(len(self.space.blocks)):
            for choice in self.choices(block):
                for local, shape in self.block_plan(block, choice).weight_shapes.items():
                    if len(shape) == 4:
                        name = self.stored_name(block, choice, local)
                        found.setdefault(name, set()).add((shape[2], shape[3]))
        chains = {name: sorted(sides, key=prod, reverse=True) for name, sides in found.items()}
        return {
            name: sides for name, sides in chains.items() if len(sides) > 1 and _is_nested(sides)
        }


def _is_nested(sides: list[_Sides]) -> bool:
    return all(a[0] >= b[0] and a[1] >= b[1] for a, b in pairwise(sides))
