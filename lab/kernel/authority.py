"""The lab's own certificate authority: made with the first certificate, kept with the lab's record, gone with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lab.errors import KernelError
from lab.kernel.record_files import make_directory, read, write_at_once
from lab.plan.objects import Certificate
from traffic.privileges import LAB_GID, has_users

if TYPE_CHECKING:
    import trustme

__all__ = ["issue", "trusting"]

_TRUSTED_BY = (
    "SSL_CERT_FILE",  # OpenSSL, so Python's ssl and urllib, Ruby, PHP; Go
    "CURL_CA_BUNDLE",  # curl
    "REQUESTS_CA_BUNDLE",  # Python's requests
    "AWS_CA_BUNDLE",  # AWS's command line and SDK for Python
    "NODE_EXTRA_CA_CERTS",  # Node.js, beside its own
)
"""Variables that name a file of certificate authorities to trust."""
_ORGANIZATION = "lambda-vpc-lab"


def issue(item: Certificate) -> None:
    """Make a server's certificate, in place of one that is there."""
    authority = _authority(Path(item.authority))
    names = (item.hostname, *map(str, item.addresses))
    issued = authority.issue_cert(*names, organization_name=_ORGANIZATION, common_name=item.hostname)
    path = Path(item.path)
    make_directory(path.parent)
    # The server reads it when a client speaks TLS, and is not root's by then.
    write_at_once(path, issued.private_key_and_cert_chain_pem.bytes().decode(), 0o640, LAB_GID if has_users() else 0)


def trusting(authority: str) -> dict[str, str]:
    """Environment variables with which programs trust the lab's servers; a program in a lab reaches no others."""
    return dict.fromkeys(_TRUSTED_BY, authority) if Path(authority).exists() else {}


def _authority(path: Path) -> trustme.CA:
    import trustme  # noqa: PLC0415  # 0.05 s, and only a lab that is made or gets a server needs it

    key = path.with_suffix(".key")
    if path.exists():
        try:
            return trustme.CA.from_pem(read(path).encode(), read(key).encode())
        except (ValueError, TypeError, FileNotFoundError) as damaged:
            raise KernelError(f"the lab's authority ({path}, {key}) is damaged: {damaged}") from damaged
    authority = trustme.CA(organization_name=_ORGANIZATION, organization_unit_name=path.parent.name)
    write_at_once(key, authority.private_key_pem.bytes().decode(), 0o600)
    write_at_once(path, authority.cert_pem.bytes().decode())
    return authority
