"""The command line: arguments in, one call of the pipeline, results out."""

from hwnas.cli.entry import cli, main

__all__ = ["cli", "main"]
