import pytest

from hwnas.errors import RunError
from hwnas.search.untrusted_files import malformed, read_bytes


@pytest.mark.parametrize("content", [b"", b"12345"])
def test_a_file_up_to_its_size_is_read_whole(tmp_path, content):
    (tmp_path / "file").write_bytes(content)

    assert read_bytes(tmp_path / "file", 5) == content


def test_a_file_over_its_size_is_not_read(tmp_path):
    (tmp_path / "file").write_bytes(b"123456")

    with pytest.raises(RunError, match="more than 5 bytes"):
        read_bytes(tmp_path / "file", 5)


def test_a_missing_file_says_that_the_run_did_not_come_that_far(tmp_path):
    with pytest.raises(RunError, match=r"has no front\.csv: the run did not come that far"):
        read_bytes(tmp_path / "front.csv", 5)


def test_a_folder_in_place_of_a_file_is_a_run_error(tmp_path):
    with pytest.raises(RunError, match="cannot read"):
        read_bytes(tmp_path, 5)


def test_the_reason_is_kept_to_one_line(tmp_path):
    error = malformed(tmp_path / "front.csv", "first\n  second " + "x" * 1000)

    assert "(first second x" in str(error)
    assert len(str(error)) < len(str(tmp_path)) + 400
