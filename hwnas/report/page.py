"""What all pages have: how they are written, and what they say about a run.

Everything that comes from the run directory is text to escape; only the plots, drawn here, go into
the page as they are.
"""

import logging
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from hwnas.errors import RunError
from hwnas.report import wording
from hwnas.search.run_directory import RunDirectory

__all__ = ["Plot", "run_context", "write_page"]

log = logging.getLogger(__name__)

_SOURCES = {
    "measured": "timed or counted on the target",
    "simulated": "computed by a simulator of the target",
    "modelled": "computed by a formula from counts or from measured parts",
    "published": "taken from a publication or its data",
}


@dataclass(frozen=True)
class Plot:
    """A plot with the text that stands for it.

    Args:
        svg: The drawing.
        title: One line.
        caption: What it shows, in sentences.
    """

    svg: Markup
    title: str
    caption: str


def run_context(run: RunDirectory, provenances: Collection[str]) -> dict[str, object]:
    """What the template `page.html` says about any run.

    Args:
        run: The run.
        provenances: Of the numbers on the page.
    """
    record = run.record
    return {
        "record": record,
        "sources": [(name, text) for name, text in _SOURCES.items() if name in provenances],
        "arguments": [(name, wording.plain(v)) for name, v in record.arguments.items()],
        "timings": [(name, wording.seconds(v)) for name, v in record.timings_s.items()],
    }


def write_page(template: str, context: Mapping[str, object], page: Path) -> None:
    """Fill a template and put the page in its place, wholly or not at all.

    Args:
        template: Its file name.
        context: What it is filled with.
        page: Where the page goes; its folder is made.

    Raises:
        RunError: It cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hwnas.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template(template).render(context)
    part = page.with_name(f"{page.name}.part")
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(page)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise RunError(f"cannot write the report {page}: {error.strerror or error}") from error
    log.info("wrote %s, %d bytes", page, len(text))
