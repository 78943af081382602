"""The `coalm` command: one module per command, and the chains of commands of `coalm reproduce`.

A command's function reads its arguments, calls one function of a room below and prints the result.
Heavy imports stay inside these functions, so that `coalm --help` and completion answer at once.
May import every other room.
"""

__all__ = ["app"]
