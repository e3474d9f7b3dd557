"""Tuning of kernels: schedules of our own, what is tried, how it is timed, and the records."""
