"""The Berkeley Function-Calling Leaderboard V3, judged by its own package in its own environment.

`environment` installs `bfcl-eval`; `worker` runs there and answers `client`; `dialogue` holds the
conversations; `scores` weighs the categories as Table 4 does.
"""
