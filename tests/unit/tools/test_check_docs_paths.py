import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[3] / "tools" / "check_docs_paths.py"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "part.py").write_text("")
    return tmp_path


def check(root: Path, text: str) -> subprocess.CompletedProcess[str]:
    (root / "docs" / "page.md").write_text(text)
    command = [sys.executable, str(TOOL), "--root", str(root)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "text",
    [
        "`src/part.py`",
        "`src/`",
        "`src/*.py`",
        "`src/<name>.py` is a pattern",
        "`docs/NNNN-title.md` is a pattern",
        "`elsewhere/file.py` is of no folder here",
        "src/missing.py in prose is not code",
        "[a page](../src/part.py)",
        "[a site](https://example.org/src/missing.py)",
        "[a heading](#heading)",
        "```console\n$ python src/part.py\n```",
    ],
)
def test_named_paths_that_exist_pass(project, text):
    done = check(project, text)

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("`src/missing.py`", "src/missing.py"),
        ("run `python src/missing.py --fast`", "src/missing.py"),
        ("`src/*.txt`", "src/*.txt"),
        ("[a page](missing.md)", "missing.md"),
        ("```console\n$ python src/missing.py\n```", "src/missing.py"),
    ],
)
def test_named_paths_that_are_missing_are_reported_with_their_line(project, text, named):
    done = check(project, f"Title\n\n{text}\n")

    assert done.returncode == 1
    line = 4 if text.startswith("```") else 3
    assert done.stdout == f"docs/page.md:{line}: {named} does not exist\n"
