"""Secrets in URLs: found, hidden in messages, and nothing else taken for one."""

from __future__ import annotations

import pytest

from ddgm.workers.urls import has_secret, redacted, without_secret

SECRET = "Xy1/z+9"


@pytest.mark.parametrize(
    "url",
    [
        f"s3://key:{SECRET}@bucket/run",
        f"s3://key:a {SECRET}@bucket/run",
        f"http://me:{SECRET}@host:80/em",
        f"https://host/em?token={SECRET}",
        f"https://host/em?a=1&api_key={SECRET}",
        f"https://host/em#token={SECRET}",
        f"https://host/em;jwt={SECRET}",
    ],
)
def test_a_secret_is_refused_and_hidden(url: str) -> None:
    with pytest.raises(ValueError, match="take it out") as error:
        without_secret(url)
    assert SECRET not in str(error.value)
    message = redacted(f"output.path: {url} does not answer")
    assert SECRET not in message
    assert message.startswith("output.path: ")


@pytest.mark.parametrize(
    "url",
    [
        "file:///data/em",
        "precomputed://https://storage.googleapis.com/bucket/em",
        "http://localhost:8080/em@v1",
        "tcp://127.0.0.1:8786",
        "https://host/em?version=3&keyboard=no#monkey=1",
    ],
)
def test_other_urls_stay_as_they_are(url: str) -> None:
    assert not has_secret(url)
    assert without_secret(url) == url
    assert redacted(f"{url} does not answer") == f"{url} does not answer"
