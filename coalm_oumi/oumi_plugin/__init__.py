"""The link to Oumi: the start-up file, the module that Oumi loads, and `coalm doctor`.

This file is imported before Oumi, so it imports nothing. No other room may import this one, except
`cli`.
"""

__all__ = ["autoload", "doctor"]
