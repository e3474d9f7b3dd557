"""The program: its commands, and errors as one line and an exit code.

Exit codes: 0 done, 1 failed, 2 bad arguments, 3 the budget cannot be met.
"""

import sys

import click

from hwnas.cli.characterize import characterize
from hwnas.cli.cosearch import cosearch
from hwnas.cli.device import device
from hwnas.cli.doctor import doctor
from hwnas.cli.export import export
from hwnas.cli.measure import measure
from hwnas.cli.predict import predict
from hwnas.cli.profile import profile
from hwnas.cli.report import report
from hwnas.cli.search import search
from hwnas.cli.spaces import spaces
from hwnas.cli.table import table
from hwnas.cli.targets import targets
from hwnas.cli.train import train
from hwnas.errors import (
    BudgetError,
    DataError,
    HwnasError,
    PluginError,
    QuantityError,
    SpaceError,
    TargetError,
)

__all__ = ["cli", "main"]

_COMMANDS = (
    doctor,
    targets,
    spaces,
    profile,
    measure,
    predict,
    train,
    search,
    cosearch,
    export,
    report,
    table,
    characterize,
    device,
)
_BAD_ARGUMENTS = (DataError, PluginError, QuantityError, SpaceError, TargetError)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hwnas")
def cli() -> None:
    """Find neural networks that meet a latency or energy budget on your hardware."""


for _command in _COMMANDS:
    cli.add_command(_command)


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
