import platform
from importlib import metadata

from hwnas.search.installed_versions import installed_versions


def test_python_and_the_packages_that_decide_numbers_are_listed():
    versions = installed_versions()

    assert {"python", "numpy", "torch", "onnxruntime", "hwnas"} <= versions.keys()
    assert {"apache-tvm", "apache-tvm-ffi", "ai-edge-litert"} <= versions.keys()
    assert versions["python"] == platform.python_version()
    assert versions["numpy"] == metadata.version("numpy")


def test_a_missing_package_is_said_to_be_missing(monkeypatch):
    def missing(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", missing)

    assert installed_versions()["torch"] == "not installed"
