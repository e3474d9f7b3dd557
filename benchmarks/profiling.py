"""How long it takes to measure every distinct block of a space, and how steady the numbers are.

Profiles `proxyless-mobile` at 128x128 on this machine's processor into a fresh table, with the
settings that `hwnas profile` uses.

    python benchmarks/profiling.py [--json] [--quick] [--space NAME] [--threads 1]
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from report_format import emit, machine, result

from hwnas.costs import CostTable
from hwnas.profiling import Protocol, profile_space
from hwnas.spaces import get_space
from hwnas.targets import get_target

QUICK_LIMIT_S = 6.0


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="a small run that checks the script")
    parser.add_argument("--space", default="proxyless-mobile@128")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    name = "mbconv-digits" if arguments.quick else arguments.space
    protocol = Protocol(limit_s=QUICK_LIMIT_S) if arguments.quick else Protocol()
    print(
        f"profiling all distinct blocks of {name} on cpu, {arguments.threads} thread(s), "
        f"at most {protocol.limit_s:g} s of measuring; {machine()}",
        file=sys.stderr,
    )
    target = get_target("cpu").with_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder, CostTable(Path(folder) / "t.sqlite") as table:
        summary = profile_space(
            get_space(name), target, table, protocol=protocol, rng=np.random.default_rng(0)
        )
    results = [
        result("profile_s", summary.seconds, "s", better="lower", reach=180.0),
        result(
            "median_relative_iqr",
            summary.median_relative_spread,
            "1",
            better="lower",
            reach=0.05,
        ),
        result("worst_relative_interval", summary.worst_relative_interval, "1", better="lower"),
        result("blocks", summary.units, "1", better="higher"),
        result("blocks_short_of_the_interval", summary.weak, "1", better="lower"),
    ]
    emit("profiling", results, arguments.json)


if __name__ == "__main__":
    main()
