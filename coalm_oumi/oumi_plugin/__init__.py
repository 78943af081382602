"""How Oumi finds this package: the start-up file, the module that Oumi loads, and `coalm doctor`.

It is imported before Oumi is, so this file imports nothing. No other room may import
it, except `cli`.
"""

__all__ = ["autoload", "doctor", "extra_deps", "merge_extra_deps", "register"]
