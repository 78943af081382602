"""What `oumi train` and `oumi evaluate` wrote, for people to look at."""
