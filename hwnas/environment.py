"""Environment variables that hwnas reads."""

__all__ = ["TRACKER_VARIABLE"]

TRACKER_VARIABLE = "HWNAS_TRACKER"
"""`HOST:PORT` of the RPC tracker at which boards register: a site's, not a device's."""
