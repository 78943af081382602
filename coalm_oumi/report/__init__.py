"""Results of `oumi train` and `oumi evaluate` for readers: the report, failures and model card.

May import every room below it, from `training` down.
"""

__all__ = ["card", "failures", "page"]
