"""The command line: arguments in, one call of the pipeline, results out.

Exit codes: 0 done, 1 failed, 2 bad arguments, 3 the budget cannot be met.
"""

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from hwnas.console import Console
from hwnas.errors import (
    BudgetError,
    DataError,
    HwnasError,
    PluginError,
    QuantityError,
    SpaceError,
    TargetError,
)

__all__ = ["main"]

_BAD_ARGUMENTS = (DataError, PluginError, QuantityError, SpaceError, TargetError)
_LARGEST_POPULATION = 10_000_000
_LARGEST_SEED = 2**63 - 1


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hwnas")
def cli() -> None:
    """Find neural networks that meet a latency or energy budget on your hardware."""


def command(function: Callable[..., None]) -> click.Command:
    """A subcommand with the options that all share; gets a `Console`, and the seed if it asks."""
    takes_seed = "seed" in inspect.signature(function).parameters

    @functools.wraps(function)
    def run(as_json: bool, verbose: int, seed: int, **arguments: Any) -> None:
        if takes_seed:
            arguments["seed"] = seed
        function(Console(as_json=as_json, verbosity=verbose), **arguments)

    name = function.__name__.strip("_").replace("_", "-")
    for option in (
        click.option("-v", "--verbose", count=True, help="Say more; twice for details."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout."),
        click.option(
            "--seed",
            type=click.IntRange(0, _LARGEST_SEED),
            default=0,
            show_default=True,
            help="Of all random draws.",
        ),
    ):
        run = option(run)
    return click.command(name)(run)


target_option = click.option(
    "--target", default="cpu", show_default=True, help="Device: a name or a device.toml."
)
threads_option = click.option(
    "--threads", type=click.IntRange(1, 1024), help="Threads; the device's own by default."
)
table_option = click.option(
    "--table",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Cost table; by default the one in the user's data folder.",
)
limit_option = click.option(
    "--limit", "limit", metavar="TIME", help="Most time for measuring, such as 60s."
)


@command
def doctor(console: Console) -> None:
    """Tell what works on this machine, and what to do about the rest."""
    from hwnas.pipeline.doctor import examine

    checks = examine()
    rows = [[c.part, "ok" if c.works else "no", c.found, c.remedy] for c in checks]
    console.emit(
        {"checks": [vars(check) for check in checks]},
        console.table("", ["part", "works", "found", "what to do"], rows),
    )


@command
@click.argument("name", required=False)
def targets(console: Console, name: str | None) -> None:
    """List the devices, or describe one."""
    import msgspec

    from hwnas.targets import available_targets, get_target

    if name is not None:
        found = msgspec.to_builtins(get_target(name))
        found["fingerprint"] = get_target(name).fingerprint
        text = "\n".join(f"{key}: {value}" for key, value in found.items())
        console.emit(found, text)
        return
    described = {each: get_target(each).description for each in available_targets()}
    console.emit(
        {"targets": described},
        console.table("", ["target", "what it is"], [list(item) for item in described.items()]),
    )


@command
@click.argument("name", required=False)
def spaces(console: Console, name: str | None) -> None:
    """List the search spaces, or describe one."""
    from hwnas.spaces import available_spaces, get_space

    if name is None:
        found = [get_space(each) for each in available_spaces()]
        rows = [[s.name, f"{s.cardinality:.2g}", s.description] for s in found]
        console.emit(
            {"spaces": {s.name: s.description for s in found}},
            console.table("", ["space", "architectures", "what it is"], rows),
        )
        return
    space = get_space(name)
    decisions = {d.name: list(d.options) for d in space.decisions}
    rows = [[key, " ".join(map(str, options))] for key, options in decisions.items()]
    console.emit(
        {
            "name": space.name,
            "description": space.description,
            "architectures": str(space.cardinality),
            "decisions": decisions,
            "blocks": [block.name for block in space.blocks],
        },
        f"{space.name}: {space.description}\n{space.cardinality:.4g} architectures, "
        f"{len(space.blocks)} blocks\n" + console.table("", ["decision", "options"], rows),
    )


@command
@click.option("--space", required=True, help="Search space, such as mbconv-digits.")
@target_option
@threads_option
@table_option
@limit_option
def profile(
    console: Console,
    space: str,
    target: str,
    threads: int | None,
    table: Path | None,
    limit: str | None,
    seed: int,
) -> None:
    """Measure the blocks of a space into the cost table; resumes where it was stopped."""
    import numpy as np

    from hwnas.costs import CostTable, default_table_path
    from hwnas.profiling import profile_space
    from hwnas.spaces import get_space
    from hwnas.targets import get_target

    found, device = get_space(space), get_target(target).with_threads(threads)
    path = table or default_table_path()
    with CostTable(path) as opened, console.progress() as progress:
        summary = profile_space(
            found,
            device,
            opened,
            protocol=_protocol(limit),
            rng=np.random.default_rng(seed),
            progress=progress,
        )
    text = (
        f"{summary.measured} of {summary.units} blocks of {space} costed on {target} in "
        f"{summary.seconds:.1f} s, {summary.units - summary.measured} were there; "
        f"table: {path}"
    )
    if summary.weak:
        console.note(
            f"{summary.weak} blocks are less certain than wanted, the worst within "
            f"{100 * summary.worst_relative_interval:.1f} %: raise --limit on a busy machine"
        )
    console.emit({**vars(summary), "table": str(path), "fingerprint": device.fingerprint}, text)


@command
@click.argument("model", type=click.Path(path_type=Path))
@target_option
@threads_option
@table_option
@limit_option
def measure(
    console: Console,
    model: Path,
    target: str,
    threads: int | None,
    table: Path | None,
    limit: str | None,
    seed: int,
) -> None:
    """Measure a whole ONNX model on a target."""
    from hwnas.costs import CostTable, default_table_path
    from hwnas.pipeline.measuring import measure_model
    from hwnas.quantities import format_metric
    from hwnas.targets import get_target

    device = get_target(target).with_threads(threads)
    path = table or default_table_path()
    opened = CostTable(path, create=False) if path.is_file() else None
    with console.progress() as progress:
        found = measure_model(
            model,
            device,
            protocol=_protocol(limit or "20s"),
            table=opened,
            seed=seed,
            progress=progress,
        )
    latency = found.latency
    low, high, spread = (
        format_metric(value, "latency_s") for value in (latency.low, latency.high, latency.spread)
    )
    console.emit(
        {
            "model": str(model),
            "target": target,
            "threads": device.runtime.threads,
            "runtime": found.source.runtime,
            "fingerprint": found.source.fingerprint,
            "latency_s": vars(latency),
            "provenance": "measured",
        },
        f"{format_metric(latency.value, 'latency_s')} (95 % interval {low} to {high}, spread "
        f"{spread}, {latency.repeats} repeats, {latency.outliers} outliers kept), measured on "
        f"{target} with {found.source.runtime}, {device.runtime.threads} thread(s)",
    )


_TRAINING: dict[str, tuple[Any, str]] = {
    "epochs": (click.IntRange(1), "Passes over the training split."),
    "batch_size": (click.IntRange(2), "Images a step."),
    "learning_rate": (click.FloatRange(0.0, min_open=True), "Peak learning rate."),
    "weight_decay": (click.FloatRange(0.0), "On kernels and matrices."),
    "label_smoothing": (click.FloatRange(0.0, 1.0, max_open=True), "Mass for all classes alike."),
    "accumulate": (click.IntRange(1), "Parts that a batch is cut into, to save memory."),
    "precision": (click.Choice(["fp32", "bf16", "fp16"]), "Other than fp32 on CUDA alone."),
    "augmentation": (click.Choice(["shapes", "photographs", "none"]), "How images are moved."),
}


def training_options(function: Callable[..., None]) -> Callable[..., None]:
    """Options of training; the function gets those that were given as `training`.

    The others are the method's own, and the data set's own augmentation.
    """

    @functools.wraps(function)
    def run(console: Console, **arguments: Any) -> None:
        given = {name: arguments.pop(name) for name in _TRAINING}
        arguments["training"] = {k: value for k, value in given.items() if value is not None}
        function(console, **arguments)

    for name, (kind, text) in reversed(_TRAINING.items()):
        flag = f"--{name.replace('_', '-')}"
        run = click.option(flag, type=kind, help=text)(run)
    return click.option(
        "--device", default="cpu", show_default=True, help="Where torch computes: cpu or cuda."
    )(run)


data_option = click.option(
    "--data",
    default="digits",
    show_default=True,
    help="digits, cifar10:DIR, folder:DIR, npz:FILE or package.module:callable.",
)
recipe_option = click.option(
    "--recipe", default="sandwich", show_default=True, help="How the supernet is trained."
)
resume_option = click.option("--resume", is_flag=True, help="Go on with a run that was stopped.")


@command
@click.option("--space", required=True, help="Search space, such as mbconv-digits.")
@data_option
@recipe_option
@training_options
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="RUN")
@resume_option
def train(console: Console, output: Path, resume: bool, **arguments: Any) -> None:
    """Train a supernet once, for searches under any later budget and target."""
    from hwnas.pipeline.requests import TrainRequest
    from hwnas.pipeline.training import train as run_training

    with console.progress() as progress:
        run = run_training(
            TrainRequest(**arguments),
            output,
            resume=resume,
            progress=progress,
            on_start=lambda run: console.log_to(run.log_path),
        )
    console.emit(
        {"run": str(run.path), "timings_s": run.record.timings_s},
        f"supernet in {run.supernet_path}, metrics in {run.path / 'training.csv'} and "
        f"{run.path / 'tensorboard'}; search with `hwnas search --supernet {run.path}`",
    )


@command
@click.option("--space", required=True, help="Search space, such as mbconv-digits.")
@target_option
@threads_option
@table_option
@limit_option
@click.option("--latency", metavar="BUDGET", help="Such as 2ms, or 50% of the largest network.")
@click.option("--energy", metavar="BUDGET", help="Such as 5mJ, or 50%.")
@click.option("--memory", metavar="BUDGET", help="Peak of activations, such as 1MiB, or 50%.")
@click.option("--strategy", default="nsga2", show_default=True)
@click.option("--estimator", default="supernet", show_default=True)
@data_option
@click.option(
    "--supernet",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="RUN",
    help="Run with a trained supernet; by default one is trained.",
)
@recipe_option
@click.option(
    "--hardware-loss",
    help="Of gradient-based strategies: log, mul-log, add-linear or lagrangian.",
)
@click.option(
    "--cost-weight", type=click.FloatRange(0.0), help="Of hardware losses with a fixed weight."
)
@training_options
@click.option(
    "--evaluations",
    type=click.IntRange(1),
    default=400,
    show_default=True,
    help="Architectures to evaluate.",
)
@click.option(
    "--population",
    type=click.IntRange(2, _LARGEST_POPULATION),
    default=40,
    show_default=True,
    help="Architectures in a generation.",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="RUN")
@resume_option
def search(
    console: Console,
    space: str,
    target: str,
    threads: int | None,
    table: Path | None,
    limit: str | None,
    latency: str | None,
    energy: str | None,
    memory: str | None,
    output: Path,
    resume: bool,
    **arguments: Any,
) -> None:
    """Search a space for networks that meet the budgets; measure the chosen one again."""
    from hwnas.costs import CostTable, default_table_path
    from hwnas.pipeline.requests import Limit, SearchRequest
    from hwnas.pipeline.searching import search as run_search
    from hwnas.pipeline.summary import run_summary

    given = {"latency_s": latency, "energy_j": energy, "memory_bytes": memory}
    limits = tuple(Limit.parse(text, metric) for metric, text in given.items() if text)
    request = SearchRequest(space, target, threads, limits, **arguments)
    protocol = _protocol(limit)
    with CostTable(table or default_table_path()) as opened, console.progress() as progress:
        run = run_search(
            request,
            output,
            opened,
            resume=resume,
            protocol=protocol,
            progress=progress,
            on_start=lambda run: console.log_to(run.log_path),
        )
    console.emit(*run_summary(run))


@command
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--pick",
    default="chosen",
    show_default=True,
    help="chosen, best, knee, fastest, or an index of front.csv.",
)
@click.option("--format", "form", default="onnx", show_default=True)
@click.option("--finetune-epochs", type=click.IntRange(0), default=0, show_default=True)
@table_option
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR")
def export(
    console: Console,
    run: Path,
    pick: str,
    form: str,
    finetune_epochs: int,
    output: Path,
    table: Path | None,
    seed: int,
) -> None:
    """Write a network of a run as a model file with its receipt."""
    import msgspec

    from hwnas.costs import CostTable, default_table_path
    from hwnas.pipeline.exporting import export_run

    path = table or default_table_path()
    with console.progress() as progress:
        receipt = export_run(
            run,
            output,
            pick=pick,
            format=form,
            finetune_epochs=finetune_epochs,
            table=CostTable(path, create=False) if path.is_file() else None,
            seed=seed,
            progress=progress,
        )
    console.emit(
        msgspec.to_builtins(receipt),
        f"{output / receipt.model} written; it differs from the trained network by at most "
        f"{receipt.numerics.max_abs_difference:.1e} in any logit of "
        f"{receipt.numerics.images} images; receipt: {output / 'receipt.json'}",
    )


@command
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="RUN/report.html by default."
)
def report(console: Console, run: Path, output: Path | None) -> None:
    """Write one self-contained HTML page about a run."""
    from hwnas.report import write_report
    from hwnas.search.run_directory import RunDirectory

    path = write_report(RunDirectory.open(run), output or run / "report.html")
    console.emit({"report": str(path)}, str(path))


@cli.group()
def table() -> None:
    """Move cost tables between machines and programs."""


@command
@click.argument("file", type=click.Path(path_type=Path))
@table_option
def _export(console: Console, file: Path, table: Path | None) -> None:
    """Write all rows to a .csv or .parquet file."""
    from hwnas.costs import CostTable, default_table_path

    with CostTable(table or default_table_path(), create=False) as opened:
        rows = opened.export(file)
    console.emit({"file": str(file), "rows": rows}, f"{rows} rows written to {file}")


@command
@click.argument("file", type=click.Path(path_type=Path))
@table_option
def _merge(console: Console, file: Path, table: Path | None) -> None:
    """Take over all rows of another table; of equal rows the newer one stays."""
    from hwnas.costs import CostTable, default_table_path

    with (
        CostTable(file, create=False) as other,
        CostTable(table or default_table_path()) as opened,
    ):
        rows = opened.merge(other)
    console.emit({"rows": rows}, f"{rows} rows taken over from {file}")


for _member in (doctor, targets, spaces, profile, measure, train, search, export, report):
    cli.add_command(_member)
for _member in (_export, _merge):
    table.add_command(_member)


def main() -> None:
    """Run the command line and leave with its exit code."""
    try:
        cli(standalone_mode=False)
    except click.exceptions.Abort:
        _fail("stopped; what was done is kept: go on with the same command (search: --resume)", 1)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except BudgetError as error:
        _fail(str(error), 3)
    except _BAD_ARGUMENTS as error:
        _fail(str(error), 2)
    except HwnasError as error:
        _fail(str(error), 1)
    except MemoryError:
        _fail("not enough memory: lower --population or --evaluations", 1)
    except BrokenPipeError:
        sys.exit(1)


def _fail(message: str, code: int) -> None:
    if "--json" in sys.argv:
        import msgspec

        print(msgspec.json.encode({"error": message, "exit_code": code}).decode())
    print(f"hwnas: {message}", file=sys.stderr)
    sys.exit(code)


def _protocol(limit: str | None) -> Any:
    from hwnas.profiling import Protocol
    from hwnas.quantities import parse_quantity

    return Protocol() if limit is None else Protocol(limit_s=parse_quantity(limit, "time"))
