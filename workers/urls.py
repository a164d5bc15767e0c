"""URLs in a spec, never with a password in them.

It lies here because `workers` is the lowest room with pydantic, and names its clusters by URL.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

HTTP = r"(?:(?<=http:)|(?<=https:))"
SECRET = re.compile(  # up to the last @ of a line: passwords hold all kinds of characters
    rf"""(?<!http:)(?<!https:)//[^/@\s:\[]*:(?!//).*@       # who:password, and not scheme://
    | {HTTP}//[^/@\s:\[]*:(?!\d+(?:/|$)).*@                 # and not host:port/
    | {HTTP}//[^/@\s]+@                                     # a token
    """,
    re.VERBOSE | re.IGNORECASE,
)
NAMES = r"signature|token|credential|passw|passphrase|pwd|secret|jwt|bearer|(?:api|access)[_-]?key"
SIGNED = re.compile(  # a link that lets in whoever has it, by the name of a parameter
    rf"([?&#;](?:[\w-]*(?:{NAMES})[\w-]*|sig|key|auth|authorization|pass)=)[^&\s]+",
    re.IGNORECASE,
)


def has_secret(text: str) -> bool:
    """True if a URL in a text holds a password (s3://key:secret@bucket), a token or a signature."""
    return (SECRET.search(text) or SIGNED.search(text)) is not None


def redacted(text: str) -> str:
    """The text with *** in place of the passwords, tokens and signatures of its URLs."""
    return SIGNED.sub(r"\1***", SECRET.sub("//***@", text))


def without_secret(url: str) -> str:
    """The URL itself, once it is known to hold no secret.

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
