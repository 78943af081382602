"""Plan before renting: what a recipe needs in memory, hours and money, and whether it can run.

`shape` (the model, from its configuration) and `setup` (the recipe) → `memory` (bytes a GPU) and
`schedule` (steps, hours, cost) → `checks` (what would stop the run) → `show` (table and bars).
"""
