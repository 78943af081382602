"""Reinforcement learning: the dataset of prompts, and rewards that compare answer and target.

May import `evaluation` and `data`.
"""

__all__ = ["functions", "grpo"]
