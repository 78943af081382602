"""The `coalm` command: one module per command, and the chains of commands of `coalm reproduce`.

May import every other room.
"""

__all__ = ["app", "chains"]
