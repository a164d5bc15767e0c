"""The one base class of errors that a user can mend."""


class DdgmError(Exception):
    """An error with a remedy: one line that names the field, the value and what to do.

    The command line prints it without a traceback and exits with a non-zero status.
    """


class Stopped(DdgmError):
    """What Ctrl-C ends with: all that was finished is kept, and can be gone on from."""
