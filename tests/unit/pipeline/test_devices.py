"""`hwnas device`: a server and a tracker as a user starts, lists and ends them."""

import json
import select
import signal
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from hwnas.cli.device import device
from hwnas.errors import TargetError
from hwnas.pipeline.devices import is_loopback, list_devices, serve_device, tracker_of
from hwnas.tvm_worker import find_tvm

LIMIT_S = 120

needs_tvm = pytest.mark.skipif(not find_tvm().works, reason=find_tvm().found)


@needs_tvm
def test_a_board_is_served_with_one_command_listed_and_ended_with_its_children(monkeypatch):
    monkeypatch.setenv("HWNAS_TRACKER", "")  # the option sets it for the process
    psutil = pytest.importorskip("psutil", reason="psutil is not installed")
    command = ["serve", "--key", "board", "--port", "0", "--start-tracker", "--json"]
    program = [sys.executable, "-P", "-c", "from hwnas.cli import main; main()", "device"]
    with subprocess.Popen(
        [*program, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            ready = json.loads(_line(process.stdout))
            tracker = ready["tracker"]
            _wait(lambda: list_devices(tracker).keys)

            listed = CliRunner().invoke(device, ["list", "--tracker", tracker, "--json"])
            children = psutil.Process(process.pid).children(recursive=True)
        finally:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=LIMIT_S)

    found = json.loads(listed.stdout)
    assert found["keys"] == {"board": {"total": 1, "free": 1, "waiting": 0}}
    assert found["devices"] == [{"key": "board", "address": ready["address"]}]
    assert ready["address"].startswith("127.0.0.1:")
    assert b"no authentication" in said
    assert process.returncode == 0
    assert len(children) >= 2
    _wait(lambda: not any(child.is_running() for child in children))


def test_without_a_tracker_the_command_says_what_to_give(monkeypatch):
    monkeypatch.delenv("HWNAS_TRACKER", raising=False)

    for words in (["list"], ["serve", "--key", "board"]):
        result = CliRunner().invoke(device, words)

        assert isinstance(result.exception, TargetError)
        assert "HWNAS_TRACKER" in str(result.exception)


def test_the_environment_names_the_tracker(monkeypatch):
    monkeypatch.setenv("HWNAS_TRACKER", "not an address")

    result = CliRunner().invoke(device, ["list"])

    assert "'not an address'" in str(result.exception)


@pytest.mark.parametrize("key", ["", "a b", "a:b", "a\nb"])
def test_keys_that_a_tracker_would_read_otherwise_are_refused(key):
    with pytest.raises(TargetError, match="is no key"):
        serve_device(
            key,
            "127.0.0.1:9190",
            host="127.0.0.1",
            port=0,
            start_tracker=False,
            public_address=None,
            emulated=False,
            on_ready=print,
            note=print,
        )


def test_tracker_of_wants_an_address():
    assert str(tracker_of("host:1")) == "host:1"
    with pytest.raises(TargetError, match="--tracker"):
        tracker_of(None)


def test_loopback_is_told_from_open_addresses():
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost")] == [True] * 3
    assert [is_loopback(h) for h in ("0.0.0.0", "192.168.0.2", "board.lan")] == [False] * 3


def _line(stream):
    ready, _, _ = select.select([stream], [], [], LIMIT_S)
    assert ready, "nothing was printed"
    return stream.readline()


def _wait(condition):
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
