"""Benchmarks: what is asked of the model, and how its answers are judged."""
