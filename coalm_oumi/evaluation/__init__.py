"""Benchmarks: their questions to the model, and the judging of its answers.

One folder per benchmark, each with `task.py`, `data.py`, `metrics.py` and a README. The modules
beside the folders serve several benchmarks. May import every room below it, from `agent` down.
"""

__all__ = ["api_bank", "bfcl", "held_out", "matching", "multiwoz", "options", "react", "results"]
