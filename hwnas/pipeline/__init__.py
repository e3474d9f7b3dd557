"""The flow of the product: one module per arrow of the picture in `docs/architecture.md`.

Import from the submodules: some need torch, and listing spaces must not wait for it.
"""

__all__: list[str] = []
