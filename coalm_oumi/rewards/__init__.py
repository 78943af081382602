"""Rewards for reinforcement learning: an answer is judged beside its sample's target and prompt."""
