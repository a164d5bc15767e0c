"""TLS between the processes of a cluster: by files, or by credentials made for one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ddgm.core.errors import DdgmError
from ddgm.workers.strict_model import StrictModel

if TYPE_CHECKING:
    from distributed import Security


class SecurityError(DdgmError):
    """TLS files that cannot be used."""


class Tls(StrictModel):
    """TLS files, PEM: whoever has them may run code on the cluster."""

    ca: Path = Field(description="certificate of the authority that signed the others")
    cert: Path = Field(description="this side's certificate")
    key: Path = Field(description="its private key")


def security_of(spec: Literal["temporary"] | Tls | None) -> Security | None:
    """Dask's `Security` for the security of a spec.

    Raises:
        SecurityError: a file is missing, or is not what it should be.
    """
    from distributed import Security

    if spec is None:
        return None
    if spec == "temporary":
        return Security.temporary()
    for name in ("ca", "cert", "key"):
        if not (path := getattr(spec, name)).is_file():
            raise SecurityError(f"cluster.security.{name}: there is no file {path}; correct it")
    ca, cert, key = str(spec.ca), str(spec.cert), str(spec.key)
    security = Security(
        require_encryption=True,
        tls_ca_file=ca,
        **{f"tls_{role}_cert": cert for role in ("client", "scheduler", "worker")},
        **{f"tls_{role}_key": key for role in ("client", "scheduler", "worker")},
    )
    try:
        security.get_connection_args("client")
    except OSError as error:  # ssl's errors are among these
        raise SecurityError(
            f"cluster.security: {cert} and {key} cannot be used ({error}); give PEM files that "
            "belong together"
        ) from error
    return security
