"""What the demo needs and a real run does not: a small model that PyPI can deliver."""
