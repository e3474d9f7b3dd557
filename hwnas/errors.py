"""One tree of errors, so that a caller can catch all of hwnas or one cause.

Each class also inherits the built-in that fits it. A message says what was asked, what was found
and what to do.
"""

__all__ = [
    "BudgetError",
    "DataError",
    "ExportError",
    "HwnasError",
    "LoweringError",
    "MeasurementError",
    "PluginError",
    "QuantityError",
    "RunError",
    "SpaceError",
    "TableError",
    "TargetError",
]


class HwnasError(Exception):
    """Anything that hwnas raises on purpose."""


class SpaceError(HwnasError, ValueError):
    """A search space, an architecture or a population is unknown or malformed."""


class LoweringError(HwnasError, ValueError):
    """A graph cannot be built, checked or turned into another form."""


class TargetError(HwnasError, ValueError):
    """A device is unknown, or its file is malformed."""


class MeasurementError(HwnasError, RuntimeError):
    """A measurement could not be taken or is not usable."""


class TableError(HwnasError, RuntimeError):
    """A cost table is corrupt, of another version, or lacks a row that is needed."""


class PluginError(HwnasError, RuntimeError):
    """An optional part is missing or does not keep its contract."""


class QuantityError(HwnasError, ValueError):
    """A quantity such as `2ms` could not be read."""


class DataError(HwnasError, ValueError):
    """A data set is missing or malformed."""


class RunError(HwnasError, RuntimeError):
    """A run directory is missing, corrupt, or belongs to other arguments."""


class ExportError(HwnasError, RuntimeError):
    """An exported model does not agree with its source."""


class BudgetError(HwnasError, RuntimeError):
    """No architecture meets the budget; the message says what can be had instead."""
