"""The base class of all errors that a user can mend."""


class DdgmError(Exception):
    """An error with a remedy: one line that names the field, the value and what to do.

    The command line prints it without a traceback and exits with a non-zero status.
    """


class Stopped(DdgmError):
    """Stopped by Ctrl-C: what was finished is kept, and the same command continues from there."""
