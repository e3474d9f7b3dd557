"""hwnas inside other compilers.

For TVM: the Relax pipeline `hwnas` (`tvm_pipeline`), which `tvm_autoload` makes known when TVM is
imported, the passes and instruments of `tvm_annotation`, `tvm_pass_recorder` and
`tvm_cost_recorder`, and the cost model of `tvm_cost_model`. For torch: the backend `hwnas` of
`torch.compile` in `torch_backend`. Importing this package loads neither.
"""

__all__: list[str] = []
