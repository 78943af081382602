"""Basics for every room: the error, the sample, function signatures, token counts, JSON text.

Imports no other room, and neither Oumi nor a model library.
"""

__all__ = [
    "compat",
    "digest",
    "errors",
    "finding",
    "function",
    "jsontext",
    "options",
    "paper",
    "sample",
    "usage",
    "wording",
    "worker",
]
