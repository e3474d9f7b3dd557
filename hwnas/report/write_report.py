"""The report of a run: one HTML page that needs nothing else, neither network nor JavaScript."""

from pathlib import Path

from hwnas.report.page import write_page
from hwnas.report.search_report import search_context
from hwnas.search.run_directory import RunDirectory

__all__ = ["write_report"]

REPORT_NAME = "report.html"


def write_report(run: RunDirectory, path: Path | str | None = None) -> Path:
    """Write the report of a run; an unfinished one is reported as far as it came.

    Args:
        run: The run, of a search or of a co-search.
        path: The page; by default `report.html` in the run directory.

    Returns:
        The page.

    Raises:
        RunError: A file of the run is malformed, or the page cannot be written.
    """
    page = Path(path) if path is not None else run.path / REPORT_NAME
    if run.record.arguments.get("command") == "cosearch":
        from hwnas.report.cosearch_report import cosearch_context  # brings torch along

        write_page("cosearch.html", cosearch_context(run), page)
    else:
        write_page("search.html", search_context(run), page)
    return page
