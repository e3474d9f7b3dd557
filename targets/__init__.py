"""Devices as data: one folder a device, read through `hwnas.targets`."""
