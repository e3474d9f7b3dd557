"""The quickstart after installation: how long it takes, and what it finds.

Runs the installed `hwnas` commands of `tools/quickstart` in a fresh folder with a fresh table:
profile, search under half the latency of the largest network, export, report. Afterwards the
largest network of the space is measured for comparison, outside the counted time.

    python benchmarks/quickstart.py [--json] [--quick] [--keep DIR]
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from report_format import emit, machine, result

SPACE = "mbconv-digits"
SHARE = "50%"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="a small run that checks the script")
    parser.add_argument("--keep", type=Path, help="keep what the commands write in this folder")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    print(
        f"hwnas profile, search, export, report: {SPACE} on cpu at {SHARE} of the latency of the "
        f"largest network; {machine()}",
        file=sys.stderr,
    )
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=False)
        results = measure(arguments.keep, arguments.quick, arguments.seed)
    else:
        with tempfile.TemporaryDirectory() as folder:
            results = measure(Path(folder), arguments.quick, arguments.seed)
    emit("quickstart", results, arguments.json)


def measure(folder: Path, quick: bool, seed: int) -> list[dict[str, Any]]:
    """Run the commands in a folder and read what they left there."""
    table, run = folder / "costs.sqlite", folder / "run"
    shared = ["--space", SPACE, "--target", "cpu", "--table", str(table), "--seed", str(seed)]
    budget = ["--latency", SHARE, "--data", "digits", "-o", str(run)]
    shared += ["--limit", "15s" if quick else "45s"]
    if not quick:
        budget += ["--evaluations", "240"]
    if quick:
        budget += ["--epochs", "1", "--evaluations", "10", "--population", "5"]
    seconds = {}
    outputs = {}
    for name, command in {
        "profile": ["profile", *shared],
        "search": ["search", *shared, *budget],
        "export": ["export", str(run), "-o", str(folder / "model")],
        "report": ["report", str(run), "-o", str(folder / "report.html")],
    }.items():
        begin = time.monotonic()
        outputs[name] = hwnas(*command)
        seconds[name] = time.monotonic() - begin
    limit = ["--limit", "2s" if quick else "20s"]
    largest = largest_network(folder / "largest.onnx")
    largest_s = hwnas("measure", str(largest), "--table", str(table), *limit)["latency_s"]["value"]

    chosen = json.loads((run / "chosen.json").read_text(encoding="utf-8"))
    predicted = chosen["predicted"]["latency_s"]["value"]
    measured = chosen["measured"]["latency_s"]["value"]
    accuracy = outputs["export"]["accuracy"]["test"]
    found = [
        result("total_s", sum(seconds.values()), "s", better="lower", reach=300.0),
        result("test_accuracy", accuracy["value"], "1", reach=0.985, images=accuracy["images"]),
        result(
            "latency_fraction_of_largest",
            measured / largest_s,
            "1",
            better="lower",
            reach=0.5,
            chosen_s=measured,
            largest_s=largest_s,
        ),
        result("predicted_over_measured", predicted / measured, "1", better="nearer to 1"),
    ]
    found += [result(f"{name}_s", s, "s", better="lower") for name, s in seconds.items()]
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    for stage, spent in record["timings_s"].items():
        found.append(result(f"search_{stage}_s", spent, "s", better="lower"))
    return found


def hwnas(*arguments: str) -> dict[str, Any]:
    """Run one installed command; returns its JSON."""
    program = Path(sys.executable).with_name("hwnas")
    done = subprocess.run(
        [str(program), *arguments, "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"hwnas {' '.join(arguments)} ended with {done.returncode}: {done.stdout}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def largest_network(path: Path) -> Path:
    """Write the largest network of the space with random weights."""
    import onnx

    from hwnas.lowering import random_weights, to_onnx
    from hwnas.spaces import get_space

    space = get_space(SPACE)
    graph = space.network(space.largest())
    onnx.save(to_onnx(graph, random_weights(graph, np.random.default_rng(0))), path)
    return path


if __name__ == "__main__":
    main()
