"""The base of every error that is the user's to mend."""

from oumi.exceptions import OumiConfigError


class CoalmError(OumiConfigError):
    """Bad input. The message names the file, the record and the mend.

    It is one of Oumi's configuration errors, which the `oumi` commands print without a trace.
    """
