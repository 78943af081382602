"""The base of every error that the user can fix."""


class CoalmError(Exception):
    """Bad input. The message names the file, the record and the fix."""
