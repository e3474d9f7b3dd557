"""Conformance suites for plug-ins, shipped in the wheel, and the NumPy twins of native routines.

A plug-in's own test inherits a suite and gives one fixture; see the docstring of each module.
"""

__all__: list[str] = []
