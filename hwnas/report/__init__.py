"""A run directory as one HTML page."""

from hwnas.report.write_report import write_report

__all__ = ["write_report"]
