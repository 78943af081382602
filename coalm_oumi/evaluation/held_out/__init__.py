"""Held-out samples of a mixture: dialogue state tracking, function calling, and any other target.

May import the modules beside the benchmark folders, and `data`.
"""

__all__ = ["metrics", "task"]
