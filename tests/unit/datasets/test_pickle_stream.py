"""Pickles read as data: equal to what pickle reads where that is harmless, refused elsewhere."""

import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwnas.datasets import pickle_stream
from hwnas.datasets.pickle_stream import read_pickled_dict
from hwnas.errors import DataError

INTEGERS = st.integers(-(2**31), 2**31 - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=8,
)


class Calls:
    """Pickled as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.text(st.characters(max_codepoint=255), max_size=3), VALUES, max_size=5))
def test_plain_values_are_those_that_pickle_reads(entries):
    assert read_pickled_dict(pickle.dumps(entries, 2), "it") == entries


@pytest.mark.parametrize("shape", [(3,), (2, 5), (2, 3, 4)])
def test_arrays_are_those_that_were_written(shape):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    entries = {"rows": array, "columns": np.asfortranarray(array)}

    found = read_pickled_dict(pickle.dumps(entries, 2), "it")

    for name, wanted in entries.items():
        np.testing.assert_array_equal(found[name], wanted)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_runs_a_command_is_refused_and_runs_nothing(tmp_path, protocol):
    trace = tmp_path / "trace"
    content = pickle.dumps({"data": Calls(os.system, f"touch {trace}")}, protocol)

    with pytest.raises(DataError, match=r"posix\.system|opcode"):
        read_pickled_dict(content, "it")
    assert not trace.exists()
    pickle.loads(content)  # the same bytes do run when they are unpickled
    assert trace.exists()


@pytest.mark.parametrize(
    "call",
    [
        Calls(eval, "1"),
        Calls(np.load, "x", None, True),
        Calls(np.dtype, "O"),
        Calls(getattr, np, "load"),
        np.float64(3),
        np.array([None]),
        np.zeros(2, np.int64),
        range(3),
        {1, 2},
        1.5,
        2**70,
    ],
)
def test_everything_else_is_refused(call):
    try:
        content = pickle.dumps({"data": call}, 2)
    except (TypeError, pickle.PicklingError):  # a module has no pickle; write the name alone
        content = b"\x80\x02}U\x01acnumpy\nload\ns."

    with pytest.raises(DataError):
        read_pickled_dict(content, "it")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02}cnumpy\ndtype\nU\x02f8\x85R.",
        b"\x80\x02cnumpy\nndarray\n(tR.",
        b"\x80\x02}U\x01bb.",
        b"\x80\x02}(U\x01au.",
        b"\x80\x02](K\x01K\x02u.",
        b"\x80\x02}]K\x01s.",
        b"\x80\x02}h\x07.",
        b"\x80\x02e.",
        b"\x80\x02\x87.",
        b"\x80\x02.",
        b"\x80\x02}c_codecs\nencode\n(X\x01\x00\x00\x00aU\x05utf16tR.",
        b"\x80\x02}(" + b"(t" + b"\x85" * 100_000 + b"K\x01u.",  # a deep key
        b"\x80\x02}c_codecs\nencode\n(" + b"\x85" * 100_000 + b"tR.",
        b"\x80\x02}C\x01a0.",
        b"\x80\x02I99" + b"9" * 5000 + b"\n.",
    ],
)
def test_malformed_streams_are_refused(content):
    with pytest.raises(DataError, match="it "):
        read_pickled_dict(content, "it")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_pickles_are_read_or_refused(data):
    entries = {"a": [1, 2], "data": np.arange(6, dtype=np.uint8), "b": ("x", None)}
    content = bytearray(pickle.dumps(entries, 2))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]

    try:
        found = read_pickled_dict(bytes(content), "it")
    except DataError:
        return
    assert isinstance(found, dict)


def test_a_long_string_is_not_copied_again_and_again():
    long = b"X" + (1000).to_bytes(4, "little") + b"a" * 1000 + b"q\x00"
    encode = b"c_codecs\nencode\nh\x00U\x06latin1\x86R"

    with pytest.raises(DataError, match="copies its strings"):
        read_pickled_dict(b"\x80\x02" + long + encode * 100 + b".", "it")


def test_a_pickle_of_too_many_opcodes_is_refused(monkeypatch):
    monkeypatch.setattr(pickle_stream, "MAX_OPCODES", 100)
    short, long = (pickle.dumps({"a": [7] * count}, 2) for count in (50, 100))

    assert read_pickled_dict(short, "it") == {"a": [7] * 50}
    with pytest.raises(DataError, match="more than 100 opcodes"):
        read_pickled_dict(long, "it")
