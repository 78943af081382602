"""The Berkeley Function-Calling Leaderboard, judged by its own package in an isolated environment.

`v3` and `v4` define the categories of a version and weight them as its leaderboard does.
`environment` installs `bfcl-eval`, `worker` runs there and answers `client`. `run` asks the model,
`dialogue` runs the conversations, and `execution` executes their calls. `verdicts` judges the
answers. May import the modules beside the benchmark folders.
"""

__all__ = ["environment", "task", "v3", "v4", "version"]
