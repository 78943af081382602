"""`coalm plan`: the memory, hours and money that a recipe needs, and whether it can run.

`shape` (the model, from its configuration) and `setup` (the recipe) → `memory` (bytes per GPU) and
`speed` (seconds of a step) → `schedule` (steps, hours, cost) → `checks` (what would stop the run) →
`show` (table and bars). May import `training.recipe`.
"""

__all__ = ["build", "gpus", "schedule", "show"]
