"""The tracker's protocol against sockets that answer as told; the real one is in test_remote."""

import json
import socket
import struct
import threading

import pytest

from hwnas.errors import MeasurementError, TargetError
from hwnas.tvm_worker.devices.tracker import Address, ask_tracker, borrow_device, parse_address

MAGIC = struct.pack("<i", 0x2F271)
SUMMARY = {
    "queue_info": {"pi": {"free": 1, "pending": 2}},
    "server_info": [
        {"key": "server:pi", "addr": ["10.0.0.7", 9090]},
        {"key": "server:pi", "addr": ["10.0.0.6", 9090]},
        {"key": "server:jetson", "addr": [None, 9091]},
    ],
}


@pytest.fixture
def answer():
    """Starts a server that sends given bytes to each of its callers."""
    listening = []

    def start(*replies):
        server = socket.create_server(("127.0.0.1", 0))
        listening.append(server)

        def serve():
            for reply in replies:
                try:
                    caller, _ = server.accept()
                except OSError:
                    return
                with caller:
                    caller.sendall(reply)
                    caller.settimeout(5.0)
                    try:
                        while caller.recv(1 << 16):
                            pass
                    except OSError:
                        pass

        threading.Thread(target=serve, daemon=True).start()
        return Address("127.0.0.1", server.getsockname()[1])

    yield start
    for server in listening:
        server.close()


def test_all_devices_are_listed(answer):
    state = ask_tracker(answer(MAGIC + _frame([0, SUMMARY])))

    assert state.keys == ("jetson", "pi")
    assert [device.address for device in state.devices if device.key == "pi"] == [
        "10.0.0.6:9090",
        "10.0.0.7:9090",
    ]
    assert state.count("pi") == 2
    assert state.free == {"pi": 1}
    assert state.waiting == {"pi": 2}


def test_nobody_at_the_address_is_an_error_with_the_remedy():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(MeasurementError, match="hwnas device tracker"):
        ask_tracker(Address("127.0.0.1", port))


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        MAGIC,
        MAGIC + struct.pack("<i", -1),
        MAGIC + struct.pack("<i", 2**31 - 1),
        MAGIC + struct.pack("<i", 4) + b"\xff\xff\xff\xff",
        MAGIC + struct.pack("<i", 2) + b"[]",
    ],
)
def test_what_is_no_tracker_is_told_so(answer, reply):
    with pytest.raises(MeasurementError, match="is no TVM tracker"):
        ask_tracker(answer(reply), timeout_s=0.3)


def test_a_tracker_that_says_nothing_is_given_up(answer):
    with pytest.raises(MeasurementError):
        ask_tracker(answer(b""), timeout_s=0.2)


def test_an_unknown_key_names_the_known_ones(answer):
    address = answer(MAGIC + _frame([0, SUMMARY]))

    with pytest.raises(MeasurementError, match=r"'pixel'.*jetson, pi.*hwnas device serve"):
        borrow_device(address, "pixel", timeout_s=1.0)


def test_a_free_device_is_lent(answer):
    lent = _frame([0, ["10.0.0.7", 9090, "pi:0.5"]])
    address = answer(MAGIC + _frame([0, SUMMARY]), MAGIC + lent)

    assert borrow_device(address, "pi", timeout_s=1.0) == (Address("10.0.0.7", 9090), "pi:0.5")


def test_busy_devices_are_waited_for_only_so_long(answer):
    address = answer(MAGIC + _frame([0, SUMMARY]), MAGIC)

    with pytest.raises(MeasurementError, match=r"all 2 devices 'pi'.*were busy"):
        borrow_device(address, "pi", timeout_s=0.2)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9190", Address("127.0.0.1", 9190)),
        ("lab-host", Address("lab-host", 9190)),
        ("[::1]:9191", Address("::1", 9191)),
    ],
)
def test_addresses(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "a b:1", "host:99999", "host:port", ":9190", "host:1:2"])
def test_other_addresses_are_refused(text):
    with pytest.raises(TargetError, match="HOST:PORT"):
        parse_address(text)


def _frame(value):
    content = json.dumps(value).encode()
    return struct.pack("<i", len(content)) + content
