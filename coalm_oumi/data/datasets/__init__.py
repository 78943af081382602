"""The dataset classes that recipes name, registered in Oumi by `coalm_oumi.oumi_plugin`.

May import `data.mixture` and `data.sources`.
"""
# pyright: reportUnusedImport=false

# Oumi 0.9 fails with a circular import when `oumi.core.datasets` is the first thing imported of
# it, which the modules of this package would do.
import oumi.datasets

__all__ = ["base", "mixture", "raw", "tokens"]
