"""The lab's own certificate authority: what it writes, who may read it, what it issues."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address
import os
from pathlib import Path
import stat

from cryptography import x509
import pytest

from lab.kernel.authority import issue, trusting
from lab.plan.objects import Certificate
from traffic.privileges import LAB_GID

ADDRESS = IPv4Address("203.0.113.10")


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Path]:
    """A lab's directory, made by a root that lets nobody else in."""
    before = os.umask(0o077)
    directory = tmp_path / "run" / "t"
    directory.mkdir(parents=True)
    yield directory
    os.umask(before)


def _certificate(record: Path, server: str = "cache", hostname: str = "cache.example.com") -> Certificate:
    return Certificate(str(record / "tls" / f"{server}.pem"), str(record / "ca.pem"), hostname, (ADDRESS,))


def _read(path: str | Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(Path(path).read_bytes().partition(b"-----END EC PRIVATE KEY-----\n")[2])


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_who_may_read(record: Path) -> None:
    """Everybody may read the authority's certificate, whatever root's umask is; keys are root's.

    Servers read their own, which are not root's any more.
    """
    issue(_certificate(record))
    assert _mode(record / "ca.pem") == 0o644
    assert _mode(record / "tls") == 0o755
    key, server = record / "ca.key", record / "tls" / "cache.pem"
    assert [(_mode(path), path.stat().st_uid, path.stat().st_gid) for path in (key, server)] == [
        (0o600, os.geteuid(), os.getegid()),
        (0o640, os.geteuid(), LAB_GID if os.geteuid() == 0 else os.getegid()),
    ]


def test_what_is_issued(record: Path) -> None:
    """A certificate is for the server's hostname and its addresses, and from this lab's authority."""
    item = _certificate(record)
    issue(item)
    certificate, authority = _read(item.path), x509.load_pem_x509_certificate((record / "ca.pem").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["cache.example.com"]
    assert names.get_values_for_type(x509.IPAddress) == [ADDRESS]
    certificate.verify_directly_issued_by(authority)


def test_one_authority(record: Path) -> None:
    """Further certificates, and one that is issued anew, are from the authority that programs trust already."""
    issue(_certificate(record))
    authority = (record / "ca.pem").read_bytes()
    issue(_certificate(record, "store"))
    renamed = _certificate(record, hostname="renamed.example.com")
    issue(renamed)
    assert (record / "ca.pem").read_bytes() == authority
    assert "renamed.example.com" in _read(renamed.path).subject.rfc4514_string()
    assert sorted(path.name for path in record.rglob("*.*")) == ["ca.key", "ca.pem", "cache.pem", "store.pem"]


def test_programs_that_trust_it(record: Path) -> None:
    """Programs are told of the authority by variables of theirs; of one that is not there, nothing."""
    authority = str(record / "ca.pem")
    assert trusting(authority) == {}
    issue(_certificate(record))
    assert {"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"} <= trusting(
        authority
    ).keys()
    assert set(trusting(authority).values()) == {authority}
