"""The slots of a limiter told apart, by entries as conntrack has them."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from lab.kernel.netfilter.conntrack import Waiting
from lab.observe.fills import fill_of
from lab.slots.fill import Fill, HalfOpen
from tests.support.bursts import ENI_A, limiter, reading

CACHE, STORE = ((IPv4Address(f"203.0.113.{host}").packed, 443) for host in (10, 20))
NAMES = {CACHE: "cache"}
ENI = replace(ENI_A, mark=7, half_open_s=120)


def entry(state: str | None, port: int, to: tuple[bytes, int] = CACHE, left_s: int = 100, mark: int = 7) -> Waiting:
    """An entry of a connection that is not active."""
    return Waiting((IPv4Address("100.65.0.1").packed, port), to, state, left_s, mark)


def test_half_open() -> None:
    """They are told by destination, the most slots first; how old they are and when they end is the extremes."""
    entries = [entry("SYN_SENT", 1, STORE, 33), entry("SYN_SENT", 2, left_s=110), entry("SYN_RECV", 3, left_s=90)]
    assert fill_of(reading(ENI, 10), entries, {}, NAMES) == Fill(
        7,
        (
            HalfOpen("cache", 2, oldest_s=29, free_s=111, timeout_s=120),
            HalfOpen("203.0.113.20:443", 1, oldest_s=86, free_s=34, timeout_s=120),
        ),
    )


def test_half_open_before() -> None:
    """A connection counts as earlier if its node had it half-open before: its source and destination tell."""
    entries = [entry("SYN_SENT", port) for port in (1, 2, 3)]
    earlier = {(ENI.place, entries[0].source, CACHE), (ENI.place, entries[1].source, STORE)}
    (half_open,) = fill_of(reading(ENI, 3), entries, {}, NAMES, earlier).half_open
    assert (half_open.slots, half_open.earlier) == (3, 1)


def test_of_another_slot_set() -> None:
    """The mark tells whose slot it is; bits above the low 16 are the connection's state."""
    entries = [entry("SYN_SENT", 1, mark=8), entry("SYN_SENT", 2, mark=0x80007)]
    assert fill_of(reading(ENI, 4), entries, {}, NAMES).half_open_slots == 1


def test_port_hold() -> None:
    """What is closed holds its slot for as long as conntrack keeps it; flows over UDP are no closed connections."""
    entries = [entry("TIME_WAIT", 1, left_s=20), entry("CLOSE", 2, left_s=40), entry(None, 3)]
    held = replace(ENI, port_hold_s=60)
    assert fill_of(reading(held, 10), entries, {7: 7, 8: 99}, NAMES) == Fill(8, (), closing=2, closing_free_s=41)


def test_closed_without_a_port_hold() -> None:
    """Conntrack keeps the entry for a second, the slot is given back before: then nothing is closing."""
    entries = [entry("TIME_WAIT", 1, left_s=0), entry("SYN_SENT", 2)]
    fill = fill_of(reading(ENI, 6), entries, {7: 5}, NAMES)
    assert (fill.established, fill.half_open_slots, fill.closing) == (5, 1, 0)


def test_destination_of_the_limit() -> None:
    """Where a limit is for one server, its half-open connections are to that one."""
    eip = replace(limiter("natgw"), mark=7, half_open_s=120)
    (half_open,) = fill_of(reading(eip, 1), [entry("SYN_SENT", 1, STORE)], {}, NAMES).half_open
    assert half_open.to == "cache"
