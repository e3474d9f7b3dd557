"""Mount point of `targets/` and `cost_models/` inside an installed package."""
