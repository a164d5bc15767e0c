"""URLs in a spec: never with a password in them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

SECRET = re.compile(
    r"""//(?:
        [^/@\s:\[]* : (?!//|\d+(?:/|$)) [^@\s]*    # who:password, and not scheme:// or host:port/
        | (?<=https://)[^/@\s]+ | (?<=http://)[^/@\s]+                                 # a token
    )@""",
    re.VERBOSE,
)


def has_secret(text: str) -> bool:
    """Whether a URL in a text holds a password, as s3://key:secret@bucket does."""
    return SECRET.search(text) is not None


def redacted(text: str) -> str:
    """The text without the passwords of its URLs."""
    return SECRET.sub("//***@", text)


def without_secret(url: str) -> str:
    """The URL, as it is.

    Raises:
        ValueError: it holds a password.
    """
    if has_secret(url):
        raise ValueError(
            "a password in a URL would end up in files and logs; take it out, and give it by the "
            "environment (AWS_ACCESS_KEY_ID and the like) or by the store's own configuration file"
        )
    return url


Url = Annotated[str, AfterValidator(without_secret)]
