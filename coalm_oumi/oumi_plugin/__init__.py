"""How Oumi finds this package: the start-up file, the module that Oumi loads, and `coalm doctor`.

Python imports this folder at every start, so this file imports nothing. No other room may import
it, except `cli`.
"""

__all__ = ["autoload", "doctor", "merge_extra_deps", "register"]
