"""Additions to `oumi train`: the plan, checks, trainer options, rewards, quantising and merging.

May import every room below it, from `evaluation` down. PyTorch and Transformers take seconds to
import, so functions import them after checking their arguments.
"""

__all__ = ["check", "demo_model", "plan", "recipe", "rewards", "trainer", "weights"]
