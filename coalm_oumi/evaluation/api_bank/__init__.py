"""API-Bank levels 1 and 2, asked and scored as Hammer's evaluation does (paper, Table 3).

May import the modules beside the benchmark folders.
"""

__all__ = ["options", "task"]
