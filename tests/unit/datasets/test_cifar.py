"""CIFAR: the binary and the Python version give the same images, and nothing in a file runs."""

import pickle
import struct

import numpy as np
import pytest

from hwnas.datasets.cifar import read_cifar10, read_cifar100
from hwnas.datasets.dataset import load_dataset
from hwnas.errors import DataError

FORTRAN = (b"\x88", b"I01\n")  # True, as protocol 2 writes it and as older ones do
BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def images(seed, count=20):
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)


def string(text):
    """A string as Python 2 pickles it."""
    raw = text if isinstance(text, bytes) else text.encode()
    return b"U" + bytes([len(raw)]) + raw if len(raw) < 256 else b"T" + packed(len(raw)) + raw


def packed(number):
    return struct.pack("<i", number)


def python2_array(data, claimed=None, order=b"\x89", dtype="u1", memo=10):
    """A uint8 array as NumPy 1 under Python 2 pickled it, protocol 2."""
    rows, columns = claimed or data.shape
    return b"".join(
        [
            b"cnumpy.core.multiarray\n_reconstruct\nq" + bytes([memo]),
            b"cnumpy\nndarray\nq" + bytes([memo + 1]) + b"K\x00\x85" + string("b") + b"\x87R",
            b"(K\x01J" + packed(rows) + b"M" + struct.pack("<H", columns) + b"\x86",
            b"cnumpy\ndtype\n" + string(dtype) + b"K\x00K\x01\x87R",
            b"(K\x03" + string("|") + b"NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb",
            order + string(data.tobytes("F" if order in FORTRAN else "C")) + b"tb",
        ]
    )


def python2_batch(data, labels, key="labels", **options):
    """A whole batch, its entries in the order of the originals."""
    return b"".join(
        [
            b"\x80\x02}q\x01(" + string("batch_label") + b"q\x02" + string("batch 1 of 5"),
            string(key) + b"]q\x03(" + b"".join(b"K" + bytes([label]) for label in labels) + b"e",
            string("data") + python2_array(data, **options),
            string("filenames") + b"](" + string("cat.png") * len(labels) + b"eu.",
        ]
    )


def write_python10(folder, write=python2_batch):
    folder.mkdir(exist_ok=True)
    for seed, name in enumerate(BATCHES):
        (folder / name).write_bytes(write(images(seed), [i % 10 for i in range(20)]))


def write_binary10(folder):
    folder.mkdir(exist_ok=True)
    for seed, name in enumerate(BATCHES):
        labels = np.arange(20, dtype=np.uint8)[:, None] % 10
        (folder / f"{name}.bin").write_bytes(np.hstack([labels, images(seed)]).tobytes())


def assert_same(found, wanted):
    for part in ("train", "test"):
        np.testing.assert_array_equal(found[part].x, wanted[part].x)
        np.testing.assert_array_equal(found[part].y, wanted[part].y)


def test_cifar10_is_read_from_its_binary_version(tmp_path):
    write_binary10(tmp_path)

    found = load_dataset(f"cifar10:{tmp_path}")

    assert found.image_shape == (3, 32, 32)
    assert found.augmentation == "photographs"
    assert (len(found.y_train), len(found.y_val), len(found.y_test)) == (80, 20, 20)
    (tmp_path / "test_batch.bin").write_bytes(b"short")
    with pytest.raises(DataError, match="3073"):
        load_dataset(f"cifar10:{tmp_path}")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:dtype")
def test_the_batch_of_these_tests_is_a_pickle():
    found = pickle.loads(python2_batch(images(0), [1] * 20), encoding="bytes")

    np.testing.assert_array_equal(found[b"data"], images(0))
    assert found[b"labels"] == [1] * 20


@pytest.mark.parametrize("order", [b"\x88", b"\x89", b"I00\n", b"I01\n"])
def test_the_python_version_has_the_images_of_the_binary_one(tmp_path, order):
    write_binary10(tmp_path / "cifar-10-batches-bin")
    binary = read_cifar10(str(tmp_path))

    def batch(data, labels):
        return python2_batch(data, labels, order=order)

    write_python10(tmp_path / "python", batch)

    assert_same(read_cifar10(str(tmp_path / "python")), binary)
    assert binary["train"].x[0, 2, 31, 31] == pytest.approx(images(0)[0, 3071] / 255)


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("binary_keys", [True, False])
def test_batches_that_python_3_wrote_are_read(tmp_path, protocol, binary_keys):
    def batch(data, labels):
        entries = {"labels": labels, "data": data, "filenames": ["å.png"] * len(labels)}
        if binary_keys:
            entries = {key.encode(): value for key, value in entries.items()}
        return pickle.dumps(entries, protocol)

    write_binary10(tmp_path)
    binary = read_cifar10(str(tmp_path))
    write_python10(tmp_path / "x", lambda *_: b"")
    write_python10(tmp_path / "cifar-10-batches-py", batch)

    assert_same(read_cifar10(str(tmp_path / "cifar-10-batches-py")), binary)


def test_the_folder_may_be_given_by_its_parent(tmp_path):
    write_python10(tmp_path / "cifar-10-batches-py")

    assert len(read_cifar10(str(tmp_path))["train"].y) == 100


def test_cifar100_has_the_fine_classes(tmp_path):
    labels = [7 * i % 100 for i in range(20)]
    binary, python = tmp_path / "cifar-100-binary", tmp_path / "cifar-100-python"
    for folder in (binary, python):
        folder.mkdir()
    for seed, name in enumerate(("train", "test")):
        coarse_and_fine = np.array([[3] * 20, labels], np.uint8).T
        records = np.hstack([coarse_and_fine, images(seed)])
        (binary / f"{name}.bin").write_bytes(records.tobytes())
        (python / name).write_bytes(python2_batch(images(seed), labels, key="fine_labels"))

    found = read_cifar100(str(python))

    assert found["train"].classes == 100
    assert found["test"].y.tolist() == labels
    assert_same(found, read_cifar100(str(binary)))


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (python2_batch(images(0), [1] * 20)[:30_000], "not a well-formed pickle"),
        (python2_batch(images(0), [1] * 20)[:40], "not a well-formed pickle"),
        (b"", "not a well-formed pickle"),
        (b"\x80\x02K\x01.", "a pickled int"),
        (python2_batch(images(0), [1] * 20, claimed=(2**31 - 1, 3072)), "claims"),
        (python2_batch(images(0), [1] * 20, claimed=(-20, 3072)), "not positive"),
        (python2_batch(images(0), [1] * 20, claimed=(40, 1536)), r"\(40, 1536\)"),
        (python2_batch(images(0), [1] * 20, dtype="O8"), "not of type uint8"),
        (python2_batch(images(0), [1] * 19), "list of 20 integers"),
        (python2_batch(images(0), [200] * 20), "0 to 9"),
        (python2_batch(images(0), [1] * 20, key="others"), "'labels' is not a list"),
        (b"\x80\x02}" + string("data") + b"T\xff\xff\xff\x7fs.", "not a well-formed pickle"),
        (b"\x80\x04\x8e" + b"\xff" * 8 + b".", "not a well-formed pickle"),
    ],
)
def test_malformed_batches_are_refused(tmp_path, batch, message):
    write_python10(tmp_path)
    (tmp_path / "test_batch").write_bytes(batch)

    with pytest.raises(DataError, match=message):
        read_cifar10(str(tmp_path))


def test_a_missing_batch_is_named(tmp_path):
    write_python10(tmp_path)
    (tmp_path / "data_batch_3").unlink()

    with pytest.raises(DataError, match="data_batch_3 is missing"):
        read_cifar10(str(tmp_path))
    (tmp_path / "test_batch").unlink()
    with pytest.raises(DataError, match=r"neither test_batch\.bin nor test_batch"):
        read_cifar10(str(tmp_path))
