"""From a run to model files with a receipt beside them."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from hwnas.backends import MeasuringBackend
from hwnas.costs import CostTable
from hwnas.datasets.dataset import Dataset
from hwnas.datasets.task import get_task
from hwnas.errors import ExportError, RunError
from hwnas.export import Deployment, ExportRequest, export_model
from hwnas.export.receipt import Accuracy, Overlap, Receipt, ReceiptFacts
from hwnas.lowering import Weights
from hwnas.lowering.torch_module import TorchModule
from hwnas.pipeline.choosing import measured_figure
from hwnas.pipeline.deployment import deployment_for, deployment_here
from hwnas.pipeline.network_weights import NetworkWeights, network_weights
from hwnas.profiling import Protocol, backend_for, measure_networks, source_of, space_anchors
from hwnas.progress import Progress, silent
from hwnas.search.run_directory import RunDirectory
from hwnas.search.run_records import ChosenRecord, CostFigure, TargetRecord
from hwnas.search.run_tables import FrontMember
from hwnas.spaces import SearchSpace, get_space
from hwnas.targets import Settings, Target, get_target

__all__ = ["export_run"]

_CHECKED_IMAGES = 64
_MEASURE_S = 20.0
_WITH_CODE = ("c", "tvm")
_EVALUATED_AT_A_TIME = 256
_FORMAT_OF = {"litert": "tflite"}  # backends that load the very file that is written

_HOW = {
    "predicted.latency_s": "Sum of the block latencies in the cost table, calibrated on whole "
    "networks of the same target.",
    "predicted.energy_j": "Sum over blocks of the cost table.",
    "predicted.memory_bytes": "Peak of live activations, counted from tensor shapes; weights are "
    "not in it.",
    "measured.latency_s": "Median of interleaved runs of the whole network on the target, beside "
    "a reference kernel that removes the machine's drift.",
}
_SAME_FILE = " What ran is the written file: the same bytes, with these weights."
_MODELLED_ENERGY = (
    "No energy counter was readable: energy is operations and bytes times constants of the "
    "target's file. It ranks networks on one target and is not a measurement."
)


def export_run(
    run_path: Path,
    out: Path,
    *,
    pick: str = "chosen",
    format: str = "onnx",
    target: str | None = None,
    finetune_epochs: int = 0,
    table: CostTable | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Receipt:
    """Export a network of a run.

    Args:
        run_path: Run directory of a finished search.
        out: Folder to write.
        pick: `chosen`, a name in the picks of `front.csv`, or an index there.
        format: As `hwnas.export` knows it.
        target: Device for which code is generated: a target, or a name of `GENERIC` in
            `hwnas.pipeline.deployment`; None for the run's. Only formats with code take one.
        finetune_epochs: Epochs of training of this network alone, from inherited weights, or from
            scratch where the run has none.
        table: With measured networks of the space, for a pick that has to be measured first;
            tuning records lie beside it.
        seed: Of that training.
        progress: Called with a line of text and the share done.

    Raises:
        RunError: The run is not there or not finished.
        ExportError: The pick is unknown, the run has no weights, or the format takes no target.
        TargetError: No code can be generated for the target.
    """
    run = RunDirectory.open(run_path)
    device = run.target  # a training run has none, and says what to do
    deployment = _deployment(run, format, target, table)
    if run.record.arguments.get("command") == "cosearch":
        raise RunError(
            f"{run.path} is a co-search of several networks with their chip, whose design is in "
            "chosen.json: export takes a search for one network"
        )
    space = get_space(run.record.arguments["space"])
    picked = _picked(run, pick)
    architecture = space.architecture(np.array(picked.architecture))
    trained = network_weights(
        run, space, architecture, epochs=finetune_epochs, seed=seed, progress=progress
    )
    weights, dataset = trained.weights, trained.dataset
    is_same_file = format == _FORMAT_OF.get(_run_target(run).backend)
    if is_same_file or not picked.measured:
        picked = _measured(run, space, picked, weights, table, progress)
    module = TorchModule(space.network(architecture), weights)
    module.eval()
    images = dataset.x_test[:_CHECKED_IMAGES]
    facts = _facts(device, picked, module, trained)
    if is_same_file and "latency_s" in facts.measured:
        facts.how["measured.latency_s"] += _SAME_FILE
    return export_model(
        ExportRequest(
            space,
            architecture,
            weights,
            images,
            _logits(module, images),
            facts,
            deployment=deployment,
        ),
        out,
        format,
    )


def _deployment(
    run: RunDirectory, format: str, target: str | None, table: CostTable | None
) -> Deployment:
    if format == "aoti":
        return deployment_here(target, _run_target(run))
    if format in _WITH_CODE:
        return deployment_for(target, _run_target(run), table, for_gpus=format == "tvm")
    if target is not None:
        raise ExportError(
            f"format {format!r} holds no code for a device: leave --target out, or export "
            f"aoti or {' or '.join(_WITH_CODE)}"
        )
    return Deployment()


def _picked(run: RunDirectory, pick: str) -> ChosenRecord:
    """The chosen network, or another member of the front in the same form."""
    chosen = run.read_chosen()
    if pick == "chosen":
        return chosen
    front = run.read_front()
    found = next((m for m in front if pick in m.picks or pick == str(m.index)), None)
    if found is None:
        names = sorted({name for member in front for name in member.picks})
        raise ExportError(
            f"no pick {pick!r} in {run.path}: chosen, {', '.join(names)}, or 0 to {len(front) - 1}"
        )
    if list(found.architecture) == chosen.architecture:
        return chosen
    return ChosenRecord(
        pick,
        list(found.architecture),
        {},
        _predicted(run, found),
        {},
        chosen.budgets,
        budget_kept=False,  # until it is measured
        error=type(chosen.error)(found.error),
    )


def _measured(
    run: RunDirectory,
    space: SearchSpace,
    picked: ChosenRecord,
    weights: Weights,
    table: CostTable | None,
    progress: Progress,
) -> ChosenRecord:
    """The pick with its measured latency, where the run's target can be measured now."""
    target = _run_target(run)
    backend = backend_for(target, table)
    measured = picked.measured
    here = target.fingerprint == run.target.fingerprint
    if here and isinstance(backend, MeasuringBackend) and backend.is_available(target).works:
        rng = np.random.default_rng(0)
        source = source_of(target, backend)
        graph = space.network(space.architecture(np.array(picked.architecture)))
        found = measure_networks(
            {"picked": backend.compile(graph, weights, target)},
            target,
            backend,
            protocol=Protocol(limit_s=_MEASURE_S),
            rng=rng,
            anchors=None
            if table is None
            else space_anchors(space, backend, target, table, source),
            progress=progress,
        )
        measured = {"latency_s": measured_figure(found["picked"])}
    figures = {**picked.predicted, **measured}
    values = {metric: figures[metric].value for metric in picked.budgets}
    kept = all(
        value is not None and value <= picked.budgets[metric] for metric, value in values.items()
    )
    return msgspec.structs.replace(picked, measured=measured, budget_kept=kept)


def _run_target(run: RunDirectory) -> Target:
    arguments = run.record.arguments
    settings = Settings(**{name: arguments.get(name) for name in Settings().arguments()})
    return get_target(arguments["target"]).with_settings(settings)


def _predicted(run: RunDirectory, member: FrontMember) -> dict[str, CostFigure]:
    provenance = run.record.provenance
    return {
        metric: CostFigure(value, provenance.get(metric, "modelled"))
        for metric, value in member.costs.items()
    }


def _facts(
    target: TargetRecord,
    picked: ChosenRecord,
    module: TorchModule,
    trained: NetworkWeights,
) -> ReceiptFacts:
    said = {f"predicted.{metric}" for metric in picked.predicted}
    said |= {f"measured.{metric}" for metric in picked.measured}
    how = {name: _HOW[name] for name in said}
    task, scores = get_task(trained.dataset.task), _scores(module, trained.dataset)
    for split, text in trained.how.items():
        meaning = task.meaning.format(which=f"{split} images")
        how[f"{task.score.lower()}.{split}"] = text.format(score=meaning)
    energy = picked.predicted.get("energy_j")
    modelled = energy is not None and energy.provenance != "measured"
    is_share = task.score == "accuracy"
    return ReceiptFacts(
        target,
        {split: Accuracy(*found) for split, found in scores.items()} if is_share else {},
        picked.predicted,
        picked.measured,
        how,
        picked.budgets,
        picked.budget_kept if picked.budgets else None,
        _MODELLED_ENERGY if modelled else None,
        {} if is_share else {split: Overlap(*found) for split, found in scores.items()},
    )


def _scores(module: TorchModule, dataset: Dataset) -> dict[str, tuple[float, int]]:
    """Split to score by the data's task and number of images."""
    found, task = {}, get_task(dataset.task)
    for split, x, y in (
        ("validation", dataset.x_val, dataset.y_val),
        ("test", dataset.x_test, dataset.y_test),
    ):
        error = task.error(torch.from_numpy(_logits(module, x)), torch.from_numpy(y))
        found[split] = (1.0 - error, len(y))
    return found


@torch.no_grad()
def _logits(module: TorchModule, images: Any) -> np.ndarray:
    parts = torch.split(torch.from_numpy(images), _EVALUATED_AT_A_TIME)
    logits: np.ndarray = torch.cat([module(part) for part in parts]).numpy()
    return logits
