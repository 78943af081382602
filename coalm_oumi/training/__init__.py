"""Before, beside and after `oumi train`: the plan, the rewards, and weights quantised or merged.

May import every room below it, from `evaluation` down. PyTorch and Transformers take seconds to
import, so functions import them after they have checked their arguments.
"""

__all__ = ["demo_model", "plan", "recipe", "rewards", "weights"]
