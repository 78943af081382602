"""The base of every error that the user can fix."""


class CoalmError(Exception):
    """Bad input. The message names the file, the record and the fix."""


class WriteError(CoalmError, OSError):
    """A file that cannot be written: a full or read-only disk, a missing permission.

    It is an `OSError` too, so that code which can write elsewhere can catch it.
    """

    def __init__(self, path: object, error: OSError) -> None:
        """Names the file and the reason.

        Args:
            path: The file.
            error: What the system raised.
        """
        self.path = path
        reason = error.strerror or str(error) or type(error).__name__
        super().__init__(
            f"{path}: cannot be written: {reason}; make space or choose another folder, and run "
            "the same command again"
        )
