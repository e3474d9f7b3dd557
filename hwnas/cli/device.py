"""`hwnas device`: boards that measure, and the tracker that finds them."""

import os
import sys

import click

from hwnas.cli.command import command
from hwnas.cli.options import tracker_option
from hwnas.console import Console
from hwnas.environment import TRACKER_VARIABLE

__all__ = ["device"]

host_option = click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen at; anyone who reaches it can run code here.",
)


@click.group()
def device() -> None:
    """Serve boards over RPC, or list them."""


@command
@click.option("--key", required=True, help="Kind of board, such as raspberry_pi_4.")
@tracker_option
@host_option
@click.option("--port", type=click.IntRange(0, 65535), default=9090, show_default=True)
@click.option("--start-tracker", is_flag=True, help="Run a tracker here too, at port 9190.")
@click.option(
    "--public-address", metavar="HOST", help="Under which users reach this board, behind a NAT."
)
@click.option("--emulated", is_flag=True, help="The processor is imitated: results, no times.")
def serve(
    console: Console,
    key: str,
    host: str,
    port: int,
    start_tracker: bool,
    public_address: str | None,
    emulated: bool,
) -> None:
    """Serve this machine as a board until Ctrl-C. RPC has no authentication."""
    from hwnas.pipeline.devices import serve_device
    from hwnas.tvm_worker.devices.tracker import Address

    def ready(address: Address, at: Address) -> None:
        console.emit(
            {"key": key, "address": str(address), "tracker": str(at)},
            f"serving {key} at {address}, registered at tracker {at}; Ctrl-C ends",
        )
        sys.stdout.flush()  # nothing more is printed for hours

    serve_device(
        key,
        os.environ.get(TRACKER_VARIABLE),
        host=host,
        port=port,
        start_tracker=start_tracker,
        public_address=public_address,
        emulated=emulated,
        on_ready=ready,
        note=console.note,
    )


@command
@host_option
@click.option("--port", type=click.IntRange(0, 65535), default=9190, show_default=True)
def tracker(console: Console, host: str, port: int) -> None:
    """Keep a tracker, at which boards register, until Ctrl-C. RPC has no authentication."""
    from hwnas.pipeline.devices import serve_tracker
    from hwnas.tvm_worker.devices.tracker import Address

    def ready(address: Address) -> None:
        console.emit({"tracker": str(address)}, f"tracker at {address}; Ctrl-C ends")
        sys.stdout.flush()

    serve_tracker(host=host, port=port, on_ready=ready, note=console.note)


@command
@tracker_option
def _list(console: Console) -> None:
    """List the boards at a tracker: all of each kind, free ones, and users that wait."""
    from hwnas.pipeline.devices import list_devices

    state = list_devices(os.environ.get(TRACKER_VARIABLE))
    counts = {
        key: {
            "total": state.count(key),
            "free": state.free.get(key, 0),
            "waiting": state.waiting.get(key, 0),
        }
        for key in state.keys
    }
    rows = [
        [
            key,
            " ".join(each.address for each in state.devices if each.key == key),
            str(count["free"]),
            str(count["total"] - count["free"]),
            str(count["waiting"]),
        ]
        for key, count in counts.items()
    ]
    text = console.table("", ["key", "devices", "free", "busy", "users waiting"], rows)
    console.emit(
        {"devices": [vars(each) for each in state.devices], "keys": counts},
        text if rows else "no device is registered; start one by hwnas device serve",
    )


for _command in (serve, tracker, _list):
    device.add_command(_command)
