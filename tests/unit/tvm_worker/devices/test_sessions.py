"""Boards over loopback: a tracker and servers in processes of their own, ended by the tests."""

import gc
import json
import os
import signal
import socket
import struct
import threading
import time

import numpy as np
import onnxruntime as ort
import pytest

from hwnas.errors import MeasurementError, TargetError
from hwnas.graph import GraphBuilder
from hwnas.lowering import random_weights, to_onnx
from hwnas.tvm_worker import TvmWorker, find_tvm
from hwnas.tvm_worker.devices.process import DeviceProcess
from hwnas.tvm_worker.devices.tracker import ask_tracker
from hwnas.tvm_worker.messages import (
    Array,
    BuildForDevice,
    BuiltForDevice,
    CloseDevice,
    CodeTarget,
    Lower,
    Lowered,
    Results,
    RunOnDevice,
    TimeChainOnDevice,
    TimedOnDevice,
    TimeOnDevice,
)

if not find_tvm().works:
    pytest.skip(f"{find_tvm().found}: {find_tvm().remedy}", allow_module_level=True)
psutil = pytest.importorskip("psutil", reason="psutil is not installed")
remote = pytest.importorskip("hwnas.tvm_worker.devices.sessions", reason="TVM is not installed")
Job = remote.Job

HERE = ("--host", "127.0.0.1", "--port", "0")
KINDS = ("pair", "pair", "imitated")
AARCH64 = 183


@pytest.fixture(scope="module")
def tracker():
    with DeviceProcess("tracker", *HERE) as process:
        yield process.address


@pytest.fixture(scope="module")
def started(tracker):
    """Servers by key, some of them dead."""
    found = {}
    for key in KINDS:
        found.setdefault(key, []).append(_start(key, tracker))
    yield found
    for processes in found.values():
        for process in processes:
            process.stop()


@pytest.fixture
def servers(started, tracker):
    """Two servers `pair` and one `imitated`, alive and registered; dead ones start again."""
    for key, processes in started.items():
        for position, process in enumerate(processes):
            if not process.is_running:
                process.stop()
                processes[position] = _start(key, tracker)
    _wait(lambda: len(ask_tracker(tracker).devices) == len(KINDS))
    return started


@pytest.fixture
def boards(tracker, servers):
    """Makes `Boards` of a key, with short time limits."""
    made = []

    def make(key, **limits):
        limits = {"job_s": 60.0, "wait_s": 20.0, "return_s": 1.0, **limits}
        made.append(remote.Boards(tracker, key, **limits))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def worker():
    with TvmWorker() as running:
        yield running


@pytest.fixture(scope="module")
def model():
    g = GraphBuilder("net")
    x = g.relu(g.conv(g.input("input", (1, 8, 12, 12)), 16, 3, name="first"))
    g.output(g.conv(x, 8, 1, name="second"), "output")
    graph = g.build()
    return to_onnx(graph, random_weights(graph, np.random.default_rng(0))).SerializeToString()


@pytest.fixture
def built(worker, tracker, servers, model):
    """A network and its kernels, untuned: what is tested here is the way to the board."""
    lowered = worker.request(Lower({"net": model}), Lowered)
    keys = tuple(sorted(lowered.kernels))
    request = BuildForDevice({"net": model}, keys, CodeTarget(), str(tracker), "pair")
    done = worker.request(request, BuiltForDevice)
    yield done
    worker.request(CloseDevice(done.handle), Results)


def test_network_on_a_board_gives_the_results_of_onnx_runtime(worker, built, model):
    image = np.random.default_rng(1).standard_normal((1, 8, 12, 12)).astype(np.float32)
    wanted = ort.InferenceSession(model).run(None, {"input": image})[0]

    request = RunOnDevice(built.handle, "net", (Array.of(image),))
    (found,) = worker.request(request, Results).outputs

    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_networks_and_kernels_are_timed(worker, built):
    keys = tuple(dict.fromkeys(built.calls["net"]))
    request = TimeOnDevice(built.handle, ("net",), keys, warmup=1, passes=5)

    timed = worker.request(request, TimedOnDevice)

    seconds = {
        n: s for part in timed.samples for n, s in zip(part.names, part.seconds, strict=True)
    }
    assert timed.failure == ""
    assert set(seconds) == {"net", *keys}
    assert all(0 < value < 1 for value in seconds.values())


def test_all_boards_work_at_once(boards):
    meeting = threading.Barrier(2, timeout=60.0)

    def meet(board):
        meeting.wait()
        return board.name

    outcome = boards("pair").run([Job("one", meet), Job("other", meet)])

    assert outcome.failure is None
    assert len(set(outcome.results.values())) == 2


def test_a_chain_runs_on_one_board(worker, built):
    members = ((built.handle, "net"),) * 3

    timed = worker.request(TimeChainOnDevice(members, warmup=1, passes=3), TimedOnDevice)

    assert [part.names for part in timed.samples] == [("net",) * 3]


def test_sessions_end_with_what_was_built_last(worker, tracker, built):
    members = ((built.handle, "net"),)
    worker.request(TimeChainOnDevice(members, warmup=0, passes=1), TimedOnDevice)
    busy = ask_tracker(tracker).free["pair"]

    worker.request(CloseDevice(built.handle), Results)

    assert busy == 1
    _wait(lambda: ask_tracker(tracker).free["pair"] == 2)


def test_a_closed_session_is_free_for_others_whatever_still_refers_to_it(tracker, servers):
    def leave_a_circle(board):
        circle = [board.session]
        circle.append(circle)

    boards = remote.Boards(tracker, "pair")
    gc.disable()
    try:
        boards.run([Job("circle", leave_a_circle)])
        busy = ask_tracker(tracker).free["pair"]
        boards.close()
        _wait(lambda: ask_tracker(tracker).free["pair"] == 2)
    finally:
        gc.enable()

    assert busy == 1


def test_a_server_survives_sessions_that_crash(boards, servers):
    def crash(board):
        server = next(s for s in servers["pair"] if board.name.endswith(str(s.address)))
        (session,) = psutil.Process(server.pid).children()
        session.send_signal(signal.SIGSEGV)
        _wait(lambda: not board.answers())
        return _threads_of(board)

    outcome = boards("pair", return_s=20.0).run([Job("kernel x", crash)])
    after = boards("pair").run([Job("sound", _threads_of)])

    assert outcome.is_job_at_fault
    assert "kernel x has ended the session of 3 devices" in str(outcome.failure)
    assert after.results == {0: 1}


def test_emulated_boards_run_networks_and_give_no_times(boards):
    imitated = boards("imitated")

    ran = imitated.run([Job("results", _threads_of, timed=False)])
    timed = imitated.run([Job("times", _threads_of)])

    assert ran.results == {0: 1}
    assert timed.results == {}
    assert "emulated" in str(timed.failure)
    assert "functional only" in str(timed.failure)


def test_code_for_another_architecture_is_refused_before_it_is_sent(boards, tmp_path):
    library = tmp_path / "other.so"
    machine = AARCH64 if os.uname().machine != "aarch64" else 62
    library.write_bytes(b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HH", 3, machine))

    outcome = boards("pair").run([Job("load", lambda board: board.load(library))])

    assert isinstance(outcome.failure, TargetError)
    assert os.uname().machine in str(outcome.failure)


def test_an_unknown_key_is_answered_with_those_that_are_there(boards):
    outcome = boards("nowhere").run([Job("any", _threads_of)])

    assert "'nowhere'" in str(outcome.failure)
    assert "pair" in str(outcome.failure)
    assert "hwnas device serve --key nowhere" in str(outcome.failure)


def test_a_registered_device_that_does_not_serve_is_given_up(boards, tracker):
    """It registers as a server does, and closes every connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as connection:
        connection.connect((tracker.host, tracker.port))
        connection.sendall(struct.pack("<i", 0x2F271))
        connection.recv(4)
        port = listening.getsockname()[1]
        for message in (
            [5, {"key": "server:broken", "addr": [None, port]}],
            *([3, "broken", [port, f"broken:{i}"], None] for i in range(99)),
        ):
            content = json.dumps(message).encode()
            connection.sendall(struct.pack("<i", len(content)) + content)
        threading.Thread(target=_hang_up, args=(listening,), daemon=True).start()
        _wait(lambda: ask_tracker(tracker).free.get("broken"))

        outcome = boards("broken", return_s=0.1).run([Job("any", _threads_of)])

    assert "no device 'broken' is left" in str(outcome.failure)
    assert "does not answer" in str(outcome.failure)


def test_a_candidate_that_ends_its_session_costs_only_itself(tracker, servers):
    import tvm

    from hwnas.tvm_worker.building import llvm_target
    from hwnas.tvm_worker.devices.runner import RemoteRunner

    def candidate(function):
        x = tvm.te.placeholder((64,), "float32", "x")
        y = tvm.te.compute((64,), lambda i: function(x[i]), "y")
        return tvm.IRModule({"main": tvm.te.create_prim_func([x, y])})

    def missing(value):
        return tvm.tirx.call_extern("float32", "hwnas_no_such_function", value)

    modules = [candidate(each) for each in (lambda v: v + v, missing, lambda v: v * v)]
    runner = RemoteRunner(CodeTarget(), str(tracker), "pair")

    times = runner.measure(modules, llvm_target(CodeTarget()))
    runner.close()

    assert times[1] is None
    assert 0 < times[0] < 1
    assert 0 < times[2] < 1


def test_stopping_a_server_ends_its_sessions(boards, servers):
    server = servers["imitated"][0]
    boards("imitated").run([Job("open a session", _threads_of, timed=False)])
    sessions = psutil.Process(server.pid).children()

    server.stop()

    assert sessions
    assert not server.is_running
    _wait(lambda: not any(session.is_running() for session in sessions))


def test_a_silent_board_is_given_up(boards, servers):
    by_address = {str(server.address): server for server in servers["pair"]}
    stopped = []

    def stop_once(board):
        if not stopped:
            stopped.append(board.name)
            server = psutil.Process(by_address[board.name.split()[-1]].pid)
            for process in (*server.children(), server):
                process.suspend()
        return board.name, _threads_of(board)

    outcome = boards("pair", job_s=2.0).run([Job(str(i), stop_once) for i in range(4)])

    assert outcome.failure is None
    assert len(outcome.results) == 4
    assert stopped[0] not in {name for name, _ in outcome.results.values()}
    silent = by_address[stopped[0].split()[-1]]
    os.kill(silent.pid, signal.SIGKILL)
    _wait(lambda: not silent.is_running)


def test_work_of_a_killed_board_is_done_by_another(boards, servers):
    by_address = {str(server.address): server for server in servers["pair"]}
    killed = []

    def kill_once(board):
        if not killed:
            killed.append(board.name)
            os.kill(by_address[board.name.split()[-1]].pid, signal.SIGKILL)
            _wait(lambda: not board.answers())
        return board.name, _threads_of(board)

    outcome = boards("pair").run([Job(str(i), kill_once) for i in range(8)])

    assert outcome.failure is None
    assert len(outcome.results) == 8
    assert killed[0] not in {name for name, _ in outcome.results.values()}


def test_what_was_done_is_kept_when_the_last_board_is_killed(boards, servers, tracker):
    def kill_at_three(number, board):
        if number == 3:
            for server in servers["pair"]:
                os.kill(server.pid, signal.SIGKILL)
            _wait(lambda: not board.answers())
        return _threads_of(board)

    last = boards("pair")
    first = last.run([Job("one session", _threads_of)])
    jobs = [Job(str(i), lambda board, i=i: kill_at_three(i, board)) for i in range(5)]
    outcome = last.run(jobs)

    assert first.failure is None
    assert isinstance(outcome.failure, MeasurementError)
    assert "'pair'" in str(outcome.failure)
    assert str(tracker) in str(outcome.failure)
    assert f"{len(outcome.results)} of 5" in str(outcome.failure)
    assert {0, 1, 2} - set(outcome.results) <= {2}  # the other board may have had one in hand


def _hang_up(listening):
    while True:
        try:
            listening.accept()[0].close()
        except OSError:
            return


def _threads_of(board):
    return int(board.session.get_function("runtime.NumThreads")())


def _start(key, tracker):
    where = ("--tracker-host", tracker.host, "--tracker-port", str(tracker.port))
    more = ("--emulated",) if key == "imitated" else ()
    return DeviceProcess("server", *HERE, "--key", key, *where, *more)


def _wait(condition, limit_s=60.0):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
