#!/usr/bin/env python3
"""Writes the error of the architectures of a space into a table, from one trained supernet.

Trains a supernet on one core, gives every architecture its own statistics of batch norms, and
writes its error on the validation split with how that was obtained. Searches read the table by
`--estimator tabulated --error-table FILE`. Killed, it goes on where it was: the supernet is in
FILE.supernet. Run it in an environment that has hwnas (tools/environment).

    tools/tabulate_accuracy.py --space unet@32 --data nuclei -o benchmarks/accuracy/unet-nuclei.csv
"""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from hwnas.datasets.dataset import Dataset
    from hwnas.spaces import Population, SearchSpace
    from hwnas.supernet.supernet import Supernet
    from hwnas.training.options import TrainingOptions

MOST = 100_000  # architectures that are listed one by one


def main() -> int:
    """Returns 0 once the table is written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--space", required=True, help="such as resnet9@16")
    parser.add_argument("--data", default="digits", help="data set (default: %(default)s)")
    parser.add_argument("--recipe", default="sandwich", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--learning-rate", type=float, help="default: the recipe's")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument(
        "--sample", type=int, metavar="N", help="N architectures, even in cost; default: all"
    )
    parser.add_argument(
        "--moved",
        type=int,
        default=0,
        metavar="COPIES",
        help="train on strongly moved images, and judge on so many moved copies of every "
        "validation image: for data that are too easy to tell networks apart",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args()

    import numpy as np
    import torch

    from hwnas.errors import HwnasError

    torch.set_num_threads(1)
    try:
        rows, errors, notes = tabulate(arguments, np.random.default_rng(arguments.seed))
        write(arguments, rows, errors, notes)
    except HwnasError as error:
        print(f"tabulate_accuracy.py: {error}", file=sys.stderr)
        return 1
    spread = np.quantile(errors, [0.0, 0.25, 0.5, 0.75, 1.0])
    print(f"{len(errors)} errors in {arguments.output}: quartiles {spread.round(4).tolist()}")
    return 0


def tabulate(
    arguments: argparse.Namespace, rng: "np.random.Generator"
) -> "tuple[Population, np.ndarray, dict[str, str]]":
    """Architectures, their errors, and how they were obtained."""
    from hwnas.datasets.dataset import load_dataset_for
    from hwnas.datasets.task import get_task
    from hwnas.pipeline.training import training_options
    from hwnas.search.installed_versions import installed_versions
    from hwnas.spaces import get_space
    from hwnas.training.recipes import load_recipe
    from hwnas.training.supernet_training import train_supernet

    space = get_space(arguments.space)
    rows = architectures(space, arguments.sample, rng)
    dataset = load_dataset_for(space, arguments.data)
    given = {"epochs": arguments.epochs, "learning_rate": arguments.learning_rate}
    options = training_options(
        load_recipe(arguments.recipe).defaults,
        {name: value for name, value in given.items() if value is not None},
        dataset,
    )
    if arguments.moved:
        dataset, options = moved(dataset, options, arguments.moved)

    def progress(epoch: int, epochs: int, metrics: dict[str, float]) -> None:
        print(f"epoch {epoch} of {epochs}: {metrics}", file=sys.stderr, flush=True)

    trained = train_supernet(
        space,
        dataset,
        arguments.recipe,
        options,
        rng=rng,
        checkpoint=arguments.output.with_suffix(".supernet"),
        resume=True,
        progress=progress,
    )
    task = get_task(dataset.task)
    versions = installed_versions()
    notes = {
        "space": space.name,
        "data": arguments.data + (f", {arguments.moved} moved copies" if arguments.moved else ""),
        "error": f"one minus {task.score} of {len(dataset.y_val)} validation images",
        "provenance": "measured",
        "how": "sub-nets of one supernet, inherited weights, batch norm statistics of their own",
        "recipe": f"{arguments.recipe}, {trained.supernet.sharing}",
        "options": repr(options),
        "seed": str(arguments.seed),
        "split": dataset.split,
        "source": dataset.source,
        "versions": ", ".join(f"{k} {versions[k]}" for k in ("hwnas", "torch", "numpy", "python")),
        "date": datetime.now(UTC).date().isoformat(),
    }
    return rows, judged(trained.supernet, dataset, rows), notes


def moved(
    dataset: "Dataset", options: "TrainingOptions", copies: int
) -> "tuple[Dataset, TrainingOptions]":
    """The same images moved, turned and scaled far more than usual, in training and judging."""
    from dataclasses import replace

    import numpy as np
    import torch

    from hwnas.datasets.augmentation import Augmentation, augmented

    strongly = Augmentation(shift=0.2, rotation=40.0, scale=0.35, shear=0.35)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.from_numpy(dataset.x_val), torch.from_numpy(dataset.y_val)
    parts = [augmented(strongly, x, y, generator) for _ in range(copies)]
    images, labels = (
        np.concatenate([part.numpy() for part in each]) for each in zip(*parts, strict=True)
    )
    return replace(dataset, x_val=images, y_val=labels), replace(options, augmentation=strongly)


def architectures(
    space: "SearchSpace", sample: int | None, rng: "np.random.Generator"
) -> "Population":
    """All canonical rows of a space, or a sample of them with every cost alike."""
    import numpy as np

    from hwnas.costs import count_costs
    from hwnas.errors import SpaceError

    if space.cardinality > MOST and sample is None:
        raise SpaceError(
            f"{space.name} has {space.cardinality} architectures, more than {MOST}: give --sample"
        )
    if space.cardinality <= MOST:
        grid = np.indices(space.option_counts).reshape(len(space.decisions), -1)
        rows = space.canonicalise(np.ascontiguousarray(grid.T, dtype=np.uint8))
    else:
        rows = space.sample(MOST, rng)
    rows = np.unique(rows, axis=0)
    if sample is None or sample >= len(rows):
        return rows
    costs = count_costs(space, ("macs",)).cost(np.ascontiguousarray(rows))[:, 0]
    strata = np.array_split(np.argsort(costs, kind="stable"), sample)
    return rows[np.sort([rng.choice(stratum) for stratum in strata])]


def judged(supernet: "Supernet", dataset: "Dataset", rows: "Population") -> "np.ndarray":
    """Validation error of every row, `(n,)`."""
    import numpy as np
    import torch

    from hwnas.datasets.task import get_task
    from hwnas.estimators.shared_prefixes import outputs_by_prefix
    from hwnas.estimators.supernet_estimator import CALIBRATION_IMAGES

    task, labels = get_task(dataset.task), torch.from_numpy(dataset.y_val)
    calibration = torch.from_numpy(dataset.x_train[:CALIBRATION_IMAGES])
    errors = np.empty(len(rows))
    found = outputs_by_prefix(supernet, rows, calibration, torch.from_numpy(dataset.x_val))
    for done, (index, outputs) in enumerate(found, 1):
        errors[index] = task.error(outputs, labels)
        if done % 100 == 0:
            print(f"{done} of {len(rows)} architectures", file=sys.stderr, flush=True)
    return errors


def write(
    arguments: argparse.Namespace,
    rows: "Population",
    errors: "np.ndarray",
    notes: dict[str, str],
) -> None:
    """The table; the supernet behind it is no longer needed."""
    from hwnas.estimators.error_table import write_error_table
    from hwnas.spaces import get_space

    write_error_table(arguments.output, get_space(arguments.space), rows, errors, notes)
    arguments.output.with_suffix(".supernet").unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
