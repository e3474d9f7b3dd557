"""NVIDIA's GPUs through NVML, the driver's own library: what they are, do and use."""

from hwnas.nvidia.nvml import GpuState, NvidiaGpu, SearchResult, find_gpu, search_gpu

__all__ = ["GpuState", "NvidiaGpu", "SearchResult", "find_gpu", "search_gpu"]
