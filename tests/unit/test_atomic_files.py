import errno
import os

import pytest

from hwnas.atomic_files import replace_file, translated_disk_errors
from hwnas.errors import RunError


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    return path


def names(path):
    return [file.name for file in path.parent.iterdir()]


def test_a_file_is_made_and_replaced(tmp_path):
    path = tmp_path / "file.bin"
    for content in (b"old, long", b"new"):
        replace_file(path, lambda file, content=content: file.write(content))

        assert path.read_bytes() == content
    assert names(path) == ["file.bin"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_failure_in_the_middle_of_a_file_leaves_the_old_one(path, error):
    def fail(file):
        file.write(b"new, cut")
        raise error

    with pytest.raises(error):
        replace_file(path, fail)

    assert path.read_bytes() == b"old"
    assert names(path) == ["file.bin"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "disk is full: file.bin .*written before is intact"),
        (errno.EDQUOT, "disk is full: file.bin .*written before is intact"),
        (errno.EIO, "cannot write file.bin in .*: Input/output error"),
    ],
)
def test_what_the_disk_refuses_is_one_line_and_leaves_the_old_file(
    path, code, message, monkeypatch
):
    def refuse(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(RunError, match=message):
        replace_file(path, lambda file: file.write(b"new"))

    assert path.read_bytes() == b"old"
    assert names(path) == ["file.bin"]


def test_what_a_killed_process_left_half_written_does_not_matter(path):
    path.with_name("file.bin.part").write_text("{")

    replace_file(path, lambda file: file.write(b"new"))

    assert path.read_bytes() == b"new"
    assert names(path) == ["file.bin"]


def test_a_missing_folder_is_a_run_error(tmp_path):
    with pytest.raises(RunError, match=r"cannot write file\.bin in"):
        replace_file(tmp_path / "missing" / "file.bin", lambda file: file.write(b"new"))


def test_only_what_the_disk_refuses_is_translated(tmp_path):
    with pytest.raises(KeyError), translated_disk_errors("the file", tmp_path):
        raise KeyError
