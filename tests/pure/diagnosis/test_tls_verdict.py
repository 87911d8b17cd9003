"""The judgement on a burst whose TLS handshakes failed: told by their reason, and apart from what limits refuse."""

from __future__ import annotations

import pytest

from lab.diagnosis.verdict import Verdict, judge
from tests.support.bursts import ENI_A, burst_result, eips, reading, seen, with_tcp, with_tls
from traffic.result import CONNECTION_ENDED, HELLO_IGNORED, HELLO_LOST, NOT_TLS

CERTIFICATE = "the certificate is not accepted: self-signed certificate"


def _judged(**failures: int) -> Verdict:
    """Of ten connections, all established."""
    return judge(burst_result(with_tls(seen(10), {_REASONS[name]: number for name, number in failures.items()})))


_REASONS = {
    "ignored": HELLO_IGNORED,
    "lost": HELLO_LOST,
    "http": NOT_TLS,
    "ended": CONNECTION_ENDED,
    "certificate": CERTIFICATE,
}


@pytest.mark.parametrize(
    ("name", "evidence", "remedy"),
    [
        ("ignored", "The server's kernel acknowledged the ClientHello", "See what the server speaks"),
        ("lost", "dropped on the way, after the connection was established", "set on the way: lab impair"),
        ("http", "in another protocol", "leave --tls out"),
        ("ended", "A FIN or RST came in place of an answer", "the server's log"),
        ("certificate", "Their connections were established", "/run/lab/t/tls/SERVER.pem"),
    ],
)
def test_each_reason(name: str, evidence: str, remedy: str) -> None:
    """A reason has its own headline, evidence that tells it from the others, and its own remedy; none is a limit."""
    verdict = _judged(**{name: 4})
    assert verdict.headline == f"4 of 10 TLS handshakes failed: {_REASONS[name]}"
    assert evidence in " ".join(verdict.explanation)
    assert [remedy in each for each in verdict.remedies] == [True]


def test_several_reasons() -> None:
    """The most frequent one is in the headline, and each is told with its number."""
    verdict = _judged(ignored=5, certificate=1)
    assert verdict.headline.endswith(HELLO_IGNORED)
    assert f"1 of them: {CERTIFICATE}." in verdict.explanation
    assert len(verdict.remedies) == 2


def test_beside_a_limit() -> None:
    """A limit that was reached is the cause of what timed out, and failed handshakes are told beside it."""
    full = reading(eips(1)[0], 30, 20, 10)
    clients = with_tls(seen(30, 10, retransmissions=10), {HELLO_IGNORED: 30})
    verdict = judge(burst_result(clients, full, first=full))
    assert verdict.headline.startswith("NAT gateway port exhaustion")
    assert f"30 of 30 TLS handshakes failed: {HELLO_IGNORED}." in verdict.explanation


def test_beside_a_limit_that_was_waited_out() -> None:
    """Where nobody timed out, failed handshakes are the cause of what failed."""
    full = reading(ENI_A, 10, 4, 2)
    clients = with_tls(with_tcp(seen(10), syn_retransmissions=4, established_at_syn=(8, 2)), {NOT_TLS: 10})
    assert judge(burst_result(clients, full)).headline == f"10 of 10 TLS handshakes failed: {NOT_TLS}"


def test_none_failed() -> None:
    """Handshakes that are complete change nothing in the verdict."""
    assert judge(burst_result(with_tls(seen(10), {}))) == judge(burst_result(seen(10)))


@pytest.mark.parametrize(("held", "agrees"), [(10, True), (7, True), (6, False), (11, False)])
def test_slots_of_connections_that_were_closed(held: int, *, agrees: bool) -> None:
    """A connection whose handshake failed was closed: its slot may still be taken, or free again."""
    result = burst_result(with_tls(seen(10), {NOT_TLS: 3}), *(reading(each, held) for each in eips(1)))
    assert (result.disagreements == ()) is agrees
