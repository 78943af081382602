"""Weights before and after training: quantise, merge the adapter, describe and publish."""
