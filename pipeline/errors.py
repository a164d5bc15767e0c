"""Classify errors by what can be done about them: of volumes, of stores, of a whole command."""

from __future__ import annotations

import errno
from typing import Any, Literal

from ddgm.core.errors import DdgmError, Failure

Kind = Literal[
    "not_found",
    "unreachable",
    "mip",
    "bounds",
    "missing",
    "corrupt",
    "invalid",
    "library",
    "credentials",
    "unsupported",
]


# cloud-volume, fsspec's stores, requests, boto and google-auth share no base class. Names are
# looked up along an error's method resolution order, so that none of them must be imported to ask.
ERROR_NAMES: dict[Kind, str] = {
    "not_found": "InfoUnavailableError UnsupportedProtocolError UnsupportedFormatError InvalidURL"
    " NotFound FileNotFoundError NotADirectoryError PageError",
    "credentials": "DefaultCredentialsError NoCredentialsError PartialCredentialsError RefreshError"
    " Forbidden Unauthorized AuthorizationError PermissionError",
    "unreachable": "OSError HTTPError BotoCoreError ClientError GoogleAPIError GoogleAuthError"
    " HttpError AzureError",
    "unsupported": "ImportError NotImplementedError OmeError UnknownCodecError RangesIgnoredError",
    "missing": "EmptyVolumeException MissingChunkError",
    "library": "AttributeError TypeError KeyError",
}


KINDS: dict[str, Kind] = {
    name: kind for kind, names in ERROR_NAMES.items() for name in names.split()
}


# of a path that leads nowhere, or to another kind of thing than it should
PATH_ERRORS = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

# the exit status of a command, by its failure; click's own is 2, of words that make no command
EXIT_STATUS: dict[Failure, int] = {
    "mistake": 1,
    "blocks": 3,
    "cluster": 4,
    "unreachable": 5,
    "storage": 6,
    "damage": 7,
    "locked": 8,
    "fault": 70,  # EX_SOFTWARE of sysexits.h
    "stopped": 130,  # as a shell says it of SIGINT
}


def failure_of(error: BaseException) -> Failure:
    """The kind of failure that an error is to a command: a fault, if ddgm knows no remedy."""
    if isinstance(error, DdgmError):
        return error.failure
    if isinstance(error, KeyboardInterrupt):
        return "stopped"
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return "storage"
    if isinstance(error, OSError) and error.errno in PATH_ERRORS:
        return "mistake"
    return "fault"


def one_line(error: BaseException) -> str:
    """An error as one line: our own by their message, others with their type."""
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, DdgmError) else f"{type(error).__name__}: {text}"


def kind_of(error: Exception) -> Kind:
    """Name the kind of an error of a volume or a store, by its HTTP status or its class.

    A failed decoding has no class of its own: what is not known is taken for corrupt, but for the
    classes that a mistake in a library's own code raises.
    """
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):  # boto's
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    else:
        status = getattr(response, "status_code", 0)
    if status in (401, 403, 407) or (isinstance(error, KeyError) and "AWS_" in str(error)):
        return "credentials"
    if 400 <= status < 500 and status not in (408, 425, 429):
        return "not_found"
    for cls in type(error).__mro__:
        if cls.__name__ in KINDS:
            return KINDS[cls.__name__]
    return "corrupt"
