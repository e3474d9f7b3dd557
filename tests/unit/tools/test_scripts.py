import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TOOLS = sorted(file for file in (ROOT / "tools").iterdir() if file.is_file())
BASH = [file for file in TOOLS if file.read_bytes().startswith(b"#!/usr/bin/env bash")]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda file: file.name)
def test_help_says_how_a_tool_is_used(tool):
    done = run(tool, "--help")

    assert done.returncode == 0, done.stderr
    assert tool.name in done.stdout.splitlines()[0]
    assert "--help" in done.stdout


@pytest.mark.parametrize("tool", BASH, ids=lambda file: file.name)
def test_unknown_option_is_refused(tool):
    done = run(tool, "--no-such-option")

    assert done.returncode == 1
    assert "--no-such-option" in done.stderr


@pytest.mark.parametrize("tool", [*BASH, ROOT / ".ci" / "run"], ids=lambda file: file.name)
def test_scripts_stop_at_the_first_error(tool):
    assert "\nset -euo pipefail\n" in tool.read_text()
    assert run("bash", "-n", tool).returncode == 0


@pytest.mark.parametrize("name", ["quickstart", "test", "lint"])
def test_environment_that_is_missing_is_named(name, tmp_path):
    done = run(ROOT / "tools" / name, "--venv", tmp_path / "none", "--no-install")

    assert done.returncode == 1
    assert "none" in done.stderr


def test_unknown_style_check_is_refused():
    done = run(ROOT / "tools" / "lint", "spelling")

    assert done.returncode == 1
    assert "unknown check spelling" in done.stderr


def test_python_that_is_too_old_is_refused(tmp_path):
    old = tmp_path / "python3.8"
    old.write_text('#!/bin/sh\ncase $1 in -c) exit 1 ;; *) echo "Python 3.8.1" ;; esac\n')
    old.chmod(0o755)

    done = subprocess.run(
        [ROOT / "tools" / "environment", tmp_path / "venv"],
        env={"PATH": "/usr/bin:/bin", "PYTHON": str(old)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "Python 3.8.1" in done.stderr
    assert "3.11" in done.stderr
