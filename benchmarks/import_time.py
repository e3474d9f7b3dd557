"""How long `import hwnas` and `hwnas --help` take, as whole processes.

python benchmarks/import_time.py [--json] [--quick] [--rounds 11]
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from report_format import emit, machine, result


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="a small run that checks the script")
    parser.add_argument("--rounds", type=int, default=11, help="processes of each kind")
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else arguments.rounds
    print(
        f"whole processes by the wall clock, median of {rounds} taken in turns; {machine()}",
        file=sys.stderr,
    )
    # -P: a checkout in the working directory must not hide the installed package.
    commands = {
        "import_s": ([sys.executable, "-P", "-c", "import hwnas"], 0.3),
        "help_s": ([str(Path(sys.executable).with_name("hwnas")), "--help"], 0.5),
        "python_s": ([sys.executable, "-P", "-c", ""], None),
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, (command, _) in commands.items():
            begin = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if number:  # the first round fills the file cache
                seconds[name].append(time.perf_counter() - begin)
    results = [
        result(
            name,
            median(seconds[name]),
            "s",
            better="lower",
            reach=reach,
            lowest=min(seconds[name]),
            highest=max(seconds[name]),
        )
        for name, (_, reach) in commands.items()
    ]
    emit("import_time", results, arguments.json)


if __name__ == "__main__":
    main()
