"""What a step of each training costs, against the plain training steps that it is made of.

Every ratio is taken in one interleaved run of single-threaded steps of `mbconv-digits` on 32
images, by thread CPU time; the median of the rounds is quoted. Memory is the peak of activations,
counted tensor by tensor, so it does not depend on the machine.

`single_path_step_ratio`: a one-path step of the elastic supernet over the step of the same network
with weights of its own. `sandwich_step_ratio`: largest, smallest and two random sub-nets in one
step over the sum of their own steps. `superkernel_step_ratio`: a step of Single-Path NAS over the
step of the largest network. `proxyless_two_path_memory_ratio`: an architecture step of
ProxylessNAS over a weight step of the same path, the worst of the random pairs; with 3, 7 and 15
candidates of the one block of a small space beside it.

    python benchmarks/training_step.py [--json] [--quick]
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
import torch
from report_format import emit, machine, result
from torch import Tensor
from torch.nn import functional

from hwnas.costs import count_costs
from hwnas.costs.differentiable import DifferentiableCosts
from hwnas.datasets.dataset import load_dataset
from hwnas.lowering.torch_module import TorchModule
from hwnas.search import Budgets
from hwnas.search.gradient.hardware_loss import make_hardware_loss
from hwnas.search.gradient.proxyless import Proxyless
from hwnas.search.gradient.single_path import SinglePath
from hwnas.search.gradient.strategy import GradientProblem
from hwnas.spaces import Architecture, ChoiceBlock, Decision, SearchSpace, get_space
from hwnas.spaces.inverted_residual import classifier, conv_unit, inverted_residual, network_input
from hwnas.supernet.activation_memory import peak_step_bytes
from hwnas.supernet.elastic import ElasticSupernet
from hwnas.supernet.supernet import Supernet
from hwnas.training.loop import make_optimiser
from hwnas.training.options import TrainingOptions
from hwnas.training.path_gradients import path_gradients, set_gradients
from hwnas.training.recipe import Batch

BATCH = 32
CANDIDATES = (3, 7, 15)
OPTIONS = TrainingOptions(epochs=1, batch_size=BATCH, augmentation=None)

Step = Callable[[], object]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="a small run that checks the script")
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    rounds = 2 if arguments.quick else arguments.rounds
    torch.set_num_threads(1)
    print(f"training steps of mbconv-digits, {rounds} rounds; {machine()}", file=sys.stderr)
    space = get_space("mbconv-digits")
    data = load_dataset("digits")
    batch = Batch(
        torch.from_numpy(data.x_train[:BATCH]),
        torch.from_numpy(data.y_train[:BATCH]),
        torch.arange(BATCH),
        0,
        0.9,
    )
    draws = 2 if arguments.quick else 10
    reached = {
        "single_path_step_ratio": (single_path(space, batch, rounds), 1.15),
        "sandwich_step_ratio": (sandwich(space, batch, rounds), 1.15),
        "superkernel_step_ratio": (superkernel(space, batch, rounds), 1.3),
        "proxyless_two_path_memory_ratio": (two_path_memory(space, batch, draws), 2.3),
    }
    for count in CANDIDATES:
        name = f"proxyless_two_path_memory_ratio_{count}_candidates"
        reached[name] = (two_path_memory(one_block(count), batch, 3), 2.3)
    results = [
        result(name, value, "1", better="lower", reach=reach)
        for name, (value, reach) in reached.items()
    ]
    emit("training_step", results, arguments.json)


def interleaved(steps: list[Step], rounds: int) -> np.ndarray:
    """Thread CPU times in s, `(rounds, steps)`, each step in turn."""
    for step in steps:
        step()
    found = np.empty((rounds, len(steps)))
    for round_ in range(rounds):
        for index, step in enumerate(steps):
            begin = time.thread_time()
            step()
            found[round_, index] = time.thread_time() - begin
    return found


def plain_step(space: SearchSpace, architecture: Architecture, batch: Batch) -> Step:
    """A training step of one network with weights of its own."""
    weights = ElasticSupernet(space, torch.Generator().manual_seed(0)).weights(architecture)
    module = TorchModule(space.network(architecture), weights)
    module.train()
    optimiser = make_optimiser(list(module.parameters()), OPTIONS)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        loss = objective(batch.labels, 0, module(batch.images), None)
        loss.backward()
        optimiser.step()

    return step


def objective(labels: Tensor, index: int, logits: Tensor, teacher: Tensor | None) -> Tensor:
    """The same loss for every path."""
    del index, teacher
    return functional.cross_entropy(logits, labels, label_smoothing=0.1)


def shared_step(supernet: Supernet, paths: list[Architecture], batch: Batch) -> Step:
    """A training step of some sub-nets of a supernet, one after another."""
    parameters = list(supernet.parameters())
    optimiser = make_optimiser(parameters, OPTIONS)

    def step() -> None:
        gradients, _ = path_gradients(
            supernet,
            paths,
            batch.images,
            partial(objective, batch.labels),
        )
        set_gradients(parameters, gradients)
        optimiser.step()

    return step


def single_path(space: SearchSpace, batch: Batch, rounds: int) -> float:
    """One-path steps over steps of the same networks alone."""
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
    ratios = []
    for row in space.sample(4, np.random.default_rng(0)):
        path = space.architecture(row)
        steps = [shared_step(supernet, [path], batch), plain_step(space, path, batch)]
        times = interleaved(steps, max(2, rounds // 3))
        ratios.append(median(times[:, 0] / times[:, 1]))
    return median(ratios)


def sandwich(space: SearchSpace, batch: Batch, rounds: int) -> float:
    """A step of four sub-nets over the sum of four steps alone."""
    supernet = ElasticSupernet(space, torch.Generator().manual_seed(0))
    drawn = map(space.architecture, space.sample(2, np.random.default_rng(0)))
    paths = [space.largest(), space.smallest(), *drawn]
    steps = [shared_step(supernet, paths, batch)]
    steps += [plain_step(space, path, batch) for path in paths]
    times = interleaved(steps, rounds)
    return median(times[:, 0] / times[:, 1:].sum(axis=1))


def superkernel(space: SearchSpace, batch: Batch, rounds: int) -> float:
    """A step of Single-Path NAS after its warm-up over one of the largest network."""
    strategy = SinglePath(problem_of(space))
    optimiser = make_optimiser(list(strategy.network.parameters()), OPTIONS)

    def step() -> None:
        strategy.step(None, batch)
        optimiser.step()

    times = interleaved([step, plain_step(space, space.largest(), batch)], rounds)
    return median(times[:, 0] / times[:, 1])


def two_path_memory(space: SearchSpace, batch: Batch, draws: int) -> float:
    """Largest ratio of an architecture step to the weight step of its own path."""
    strategy = Proxyless(problem_of(space))
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(draws):
        pairs = strategy.paths.sample_pairs(rng)
        path = space.architecture(strategy.paths.row([active for active, _ in pairs]))

        def two_paths(pairs: list[tuple[int, int]] = pairs) -> object:
            probabilities = strategy.paths.pair_probabilities(pairs)
            logits = strategy.gated_logits(batch.images, pairs, probabilities)
            loss = objective(batch.labels, 0, logits, None)
            return torch.autograd.grad(loss, strategy.paths.parameters, allow_unused=True)

        def one_path(path: Architecture = path) -> object:
            return path_gradients(
                strategy.supernet,
                [path],
                batch.images,
                partial(objective, batch.labels),
            )

        ratios.append(peak_step_bytes(two_paths) / peak_step_bytes(one_path))
    return max(ratios)


def problem_of(space: SearchSpace) -> GradientProblem:
    """A search whose costs are counted operations."""
    costs = count_costs(space, ("macs",))
    largest = costs.cost(space.largest().row()[None])[0].tolist()
    return GradientProblem(
        space,
        load_dataset("digits"),
        costs,
        Budgets(),
        DifferentiableCosts(costs),
        make_hardware_loss("log", largest=largest, weight=0.3),
        OPTIONS,
        np.random.default_rng(0),
        torch.Generator().manual_seed(0),
    )


def one_block(candidates: int) -> SearchSpace:
    """A space of one block with that many candidates of different size."""
    options = tuple((kernel, expand) for expand in range(1, 6) for kernel in (3, 5, 7))
    decisions = (Decision("operator", options[:candidates]),)
    blocks = (
        ChoiceBlock("input", partial(network_input, channels=1, resolution=32)),
        ChoiceBlock("stem", partial(conv_unit, width=16, kernel=3, stride=2)),
        ChoiceBlock("block", partial(block, width=16), {"operator": "operator"}),
        ChoiceBlock("classifier", partial(classifier, classes=10)),
    )
    return SearchSpace(f"one-block-{candidates}", decisions, blocks)


def block(g, x, *, width, operator):
    """An inverted residual of a kernel and an expansion."""
    kernel, expand = operator
    return inverted_residual(g, x, width=width, kernel=kernel, expand=expand)


if __name__ == "__main__":
    main()
