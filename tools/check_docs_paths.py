#!/usr/bin/env python3
"""Checks that every path of this project that a Markdown file names exists.

Looked at are relative links, and words of code (`inline` or fenced) that start with one of the
project's top-level folders. A `*` in a word must match something; a word with `<...>` or `NNNN`
is a pattern for the reader and is not checked.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MADE = {"build", "dist", "runs"}  # folders that tools make

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_INLINE = re.compile(r"`([^`\n]+)`")
_FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_WORD = re.compile(r"[\w.*@<>-]+(?:/[\w.*@<>-]*)+")
_PATTERN = re.compile(r"<|NNNN")


def main() -> int:
    """Returns 0 if all paths exist."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="default: %(default)s")
    root: Path = parser.parse_args().root.resolve()
    missing = list(missing_paths(root))
    for file, line, named in missing:
        print(f"{file.relative_to(root)}:{line}: {named} does not exist")
    return 1 if missing else 0


def missing_paths(root: Path) -> Iterator[tuple[Path, int, str]]:
    """Returns file, line and path of everything that is named and not there."""
    folders = {
        entry.name
        for entry in root.iterdir()
        if entry.is_dir()
        and entry.name not in MADE
        and (entry.name[0] != "." or entry.name == ".ci")
    }
    for file in markdown_files(root, folders):
        text = file.read_text(encoding="utf-8")
        for position, named in named_paths(text):
            relative = named.split("#")[0]
            if named.startswith("link:"):
                there = (file.parent / relative.removeprefix("link:")).exists()
            else:
                there = relative.split("/")[0] not in folders or _exists(root, relative)
            if not there:
                yield file, text.count("\n", 0, position) + 1, named.removeprefix("link:")


def markdown_files(root: Path, folders: set[str]) -> list[Path]:
    """Returns the Markdown files of the project, sorted."""
    found = list(root.glob("*.md"))
    for folder in folders:
        found += (root / folder).rglob("*.md")
    return sorted(found)


def named_paths(text: str) -> Iterator[tuple[int, str]]:
    """Returns position and path; a link's path is marked by `link:`."""
    prose = _FENCE.sub(lambda fence: re.sub(r"[^\n]", " ", fence.group()), text)
    for link in _LINK.finditer(prose):
        if not re.match(r"[a-z]+:|#", link.group(1)):
            yield link.start(), f"link:{link.group(1)}"
    for kind, source in ((_INLINE, prose), (_FENCE, text)):
        for code in kind.finditer(source):
            for word in _WORD.finditer(code.group()):
                if not _PATTERN.search(word.group()):
                    yield code.start() + word.start(), word.group().rstrip(".")


def _exists(root: Path, relative: str) -> bool:
    if "*" in relative:
        return any(root.glob(relative))
    return (root / relative).exists()


if __name__ == "__main__":
    sys.exit(main())
