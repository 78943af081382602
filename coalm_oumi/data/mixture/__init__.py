"""The mixture: built from the sources, stored as Parquet, selected for a run and described.

May import `data.sources`.
"""

__all__ = ["build", "config", "marks", "overlap", "select", "stats", "store", "write"]
