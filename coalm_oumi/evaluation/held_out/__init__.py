"""Held-out samples of a mixture: dialogue state tracking and function calling.

May import the modules beside the benchmark folders, and `data`.
"""

__all__ = ["data", "metrics", "task"]
