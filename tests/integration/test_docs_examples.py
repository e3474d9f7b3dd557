"""The commands and programs in the documentation work."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hwnas.cli import cli

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def examples(page: Path) -> list[tuple[str, str]]:
    """Commands and programs of a page in order, as `(console or python, text)`."""
    found = []
    for language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "console":
            joined = text.replace("\\\n", " ")
            found += [
                ("console", line[2:].strip())
                for line in joined.splitlines()
                if line.startswith("$ ")
            ]
        elif language == "python":
            found.append(("python", text))
    return found


def hwnas_commands() -> list[tuple[Path, str]]:
    return [
        (page, text)
        for page in PAGES
        for language, text in examples(page)
        if language == "console" and text.startswith("hwnas ")
    ]


@pytest.mark.parametrize(
    ("page", "command"), hwnas_commands(), ids=lambda value: str(value).removeprefix(str(ROOT))
)
def test_command_in_the_documentation_is_understood(page, command):
    words = shlex.split(command, comments=True)[1:]
    group = cli
    while hasattr(group, "commands") and words and words[0] in group.commands:
        group = group.commands[words.pop(0)]

    context = group.make_context(command, words)

    assert context.command is not cli, f"{page} names no command of hwnas"


def test_tour_runs_from_its_first_line_to_its_last(tmp_path):
    programs = {"hwnas": Path(sys.executable).with_name("hwnas")}
    steps = examples(ROOT / "docs" / "tour.md")

    for language, text in steps:
        if language == "console":
            name, *arguments = shlex.split(text)
            command = [str(programs[name]), *arguments]
        else:
            command = [sys.executable, "-c", text]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"

    assert len(steps) > 10
    assert (tmp_path / "run" / "report.html").is_file()
