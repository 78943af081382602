"""The commands of `coalm`, one module each: its arguments, and what it runs."""
