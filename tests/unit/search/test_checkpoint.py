import io
import json
import struct
import zipfile
import zlib

import numpy as np
import pytest

from hwnas.errors import RunError
from hwnas.search.checkpoint import generator_state, load_state, restore_generator, save_state

KINDS = [
    np.random.PCG64,
    np.random.PCG64DXSM,
    np.random.MT19937,
    np.random.Philox,
    np.random.SFC64,
]


@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_generator_draws_the_same(kind):
    rng, other = np.random.Generator(kind(1)), np.random.Generator(kind(2))
    rng.integers(5, size=3, dtype=np.uint32)
    state = generator_state(rng)

    wanted = (rng.random(5).tolist(), rng.integers(9, size=5, dtype=np.uint32).tolist())
    restore_generator(other, state)

    assert (
        other.random(5).tolist(),
        other.integers(9, size=5, dtype=np.uint32).tolist(),
    ) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"bit_generator": "MT19937"}',
        '{"bit_generator": "PCG64"}',
        '{"bit_generator": "PCG64", "state": {"state": -1, "inc": 1}, "has_uint32": 0}',
    ],
)
def test_a_state_that_is_not_of_this_generator_is_refused(text):
    with pytest.raises(RunError):
        restore_generator(np.random.default_rng(0), text)


def test_what_is_saved_is_loaded(tmp_path):
    state = {
        "array": np.arange(6, dtype=np.uint8).reshape(2, 3),
        "empty": np.empty((0, 2)),
        "count": 7,
        "share": 0.1,
        "text": json.dumps({"a": 2**100}),
    }

    save_state(tmp_path / "checkpoint", state)
    found = load_state(tmp_path / "checkpoint")

    assert found.keys() == state.keys()
    assert found["array"].dtype == np.uint8
    assert np.array_equal(found["array"], state["array"])
    assert found["empty"].shape == (0, 2)
    assert (found["count"], found["share"], found["text"]) == (7, 0.1, state["text"])
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_saving_replaces_what_was_there(tmp_path):
    save_state(tmp_path / "checkpoint", {"count": 1})
    save_state(tmp_path / "checkpoint", {"count": 2})

    assert load_state(tmp_path / "checkpoint") == {"count": 2}


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_a_file_that_is_no_checkpoint_is_an_error(tmp_path, content):
    (tmp_path / "checkpoint").write_bytes(content)

    with pytest.raises(RunError, match="cannot read"):
        load_state(tmp_path / "checkpoint")


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(RunError, match="cannot read"):
        load_state(tmp_path / "checkpoint")


def test_pickled_objects_are_refused(tmp_path):
    with (tmp_path / "checkpoint").open("wb") as file:
        np.savez(file, evil=np.array([{}], dtype=object))

    with pytest.raises(RunError, match="claims"):
        load_state(tmp_path / "checkpoint")


def test_an_array_larger_than_its_bytes_is_refused(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 10**3)}
    )
    with zipfile.ZipFile(tmp_path / "checkpoint", "w") as archive:
        archive.writestr("huge.npy", header.getvalue() + bytes(8))

    with pytest.raises(RunError, match="claims"):
        load_state(tmp_path / "checkpoint")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{[]: 1}",
        "((((",
        "(" * 10_000,
        "-" * 5_000 + "1",
        "{'descr': (), 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (" + "9" * 30 + ", 0)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
    ],
    ids=range(9),
)
def test_a_hostile_header_is_refused(tmp_path, text):
    content = np.lib.format.magic(1, 0) + struct.pack("<H", len(text)) + text.encode() + bytes(8)
    with zipfile.ZipFile(tmp_path / "checkpoint", "w") as archive:
        archive.writestr("array.npy", content)

    with pytest.raises(RunError, match="cannot read") as caught:
        load_state(tmp_path / "checkpoint")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_compressed_entry_is_refused(tmp_path, method):
    path = tmp_path / "checkpoint"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("array.npy", np.random.default_rng(0).bytes(1000))
    content = bytearray(path.read_bytes())
    content[50:400] = b"\xff" * 350
    path.write_bytes(content)

    with pytest.raises(RunError, match="cannot read"):
        load_state(path)


@pytest.mark.parametrize(("offset", "value"), [(8, 1), (10, 77)], ids=["encrypted", "method"])
def test_an_entry_that_cannot_be_unpacked_is_refused(tmp_path, offset, value):
    path = tmp_path / "checkpoint"
    save_state(path, {"count": 1})
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + offset] = value
    path.write_bytes(content)

    with pytest.raises(RunError, match="cannot read"):
        load_state(path)


@pytest.mark.parametrize("error", [MemoryError, zlib.error, NotImplementedError, RuntimeError])
def test_what_unpacking_raises_is_one_run_error(tmp_path, monkeypatch, error):
    save_state(tmp_path / "checkpoint", {"count": 1})

    def fail(*_, **__):
        raise error("two\nlines")

    monkeypatch.setattr(np, "load", fail)
    with pytest.raises(RunError, match="two lines; start afresh"):
        load_state(tmp_path / "checkpoint")


def test_a_state_that_cannot_be_written_is_a_run_error(tmp_path):
    with pytest.raises(RunError, match=r"cannot write search\.npz"):
        save_state(tmp_path / "missing" / "search.npz", {"count": 1})
