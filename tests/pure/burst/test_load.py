"""What a burst may be asked to be; each refusal says what is allowed, before a lab is looked for."""

from __future__ import annotations

from dataclasses import fields
from inspect import signature
from typing import Any

import pytest

from lab.burst.load import Load, Ramp
from lab.burst.options import facts_of
from lab.burst.run import WatchedLoad
from lab.errors import UsageError
from tests.support.cli import Run
from traffic.spec import Arrivals, Growth

_REFUSALS = [
    ("-n 0", "-n 0: a burst has at least one connection, at most 1,000,000,000"),
    ("-n 2000000000", "-n 2000000000: a burst has at least one connection, at most 1,000,000,000"),
    ("--connect-timeout 0", "--connect-timeout 0.0: seconds, up to 86,400"),
    ("--connect-timeout nan", "--connect-timeout nan: seconds, up to 86,400"),
    ("--connect-timeout 86401", "--connect-timeout 86401.0: seconds, up to 86,400"),
    ("--hold -1", "--hold -1.0: seconds, up to 86,400"),
    ("--hold inf", "--hold inf: seconds, up to 86,400"),
    ("--reuse --duration -0.5", "--duration -0.5: seconds, up to 86,400"),
    (
        "--connections-per-environment 0",
        "--connections-per-environment 0: 1 to 65,000, the ports of an address",
    ),
    (
        "--connections-per-environment 1025",
        (
            "--connections-per-environment 1025: 1 to 1,024, the descriptors that Lambda gives an execution "
            "environment; more, to see them run out, with --descriptors 1024"
        ),
    ),
    ("--descriptors 0", "--descriptors 0: 1 to 1,048,576"),
    ("--descriptors-at-start 20", "--descriptors-at-start 20: of how many? --descriptors says it"),
    (
        "--descriptors 20 --descriptors-at-start 20",
        "--descriptors 20: --descriptors-at-start takes 20, and a connection needs one more; 21 at least",
    ),
    (
        "--tls",
        "--tls makes handshakes on TCP connections of the kernel: --engine socket --tls, not with the packet engine",
    ),
    (
        "--tls --engine scapy",
        "--tls makes handshakes on TCP connections of the kernel: --engine socket --tls, not with the scapy engine",
    ),
    (
        "--tls --engine socket --protocol udp",
        "--tls makes handshakes on TCP connections of the kernel: --engine socket --tls, not with --protocol udp",
    ),
    ("--rate 0", "--rate 0.0: invocations per second, more than 0"),
    ("--rate -5", "--rate -5.0: invocations per second, more than 0"),
    ("--rate inf", "--rate inf: invocations per second, more than 0"),
    ("--rate 5 --ramp 0:5:1", "--rate and --ramp: one of them; a ramp ends with a steady rate"),
    ("--ramp 5", "--ramp 5: FROM:TO:SECONDS, such as 0:5000:60"),
    ("--ramp 1:2:x", "--ramp 1:2:x: FROM:TO:SECONDS, such as 0:5000:60"),
    ("--ramp 1:2:3:4", "--ramp 1:2:3:4: FROM:TO:SECONDS, such as 0:5000:60"),
    ("--ramp 0:0:9", "--ramp 0:0:9: two rates of invocations per second, 0 or more, not both 0"),
    ("--ramp=-1:5:9", "--ramp -1:5:9: two rates of invocations per second, 0 or more, not both 0"),
    ("--ramp 1:inf:9", "--ramp 1:inf:9: two rates of invocations per second, 0 or more, not both 0"),
    ("--ramp 0:5:0", "--ramp 0:5:0: it takes more than 0 and up to 86,400 seconds"),
    (
        "-n 27 --ramp 5:0:10",
        "--ramp 5:0:10: comes down to 0 after 26 invocations; -n 26 at most, or TO above 0",
    ),
    ("--requests-per-connection -1", "--requests-per-connection -1: 0 to 65,000"),
    ("--requests-per-connection 65001", "--requests-per-connection 65001: 0 to 65,000"),
    (
        "--reuse --requests-per-connection 0",
        "--requests-per-connection 0: a connection that is reused carries a request each time; 1 or more",
    ),
    (
        "--duration 1",
        (
            "--duration: how long an invocation keeps its environment busy matters with --reuse only; "
            "how long a connection is kept is --hold"
        ),
    ),
    ("--protocol udp --close reset", "--close reset: UDP has no goodbye of any kind"),
    (
        "--syn-only --reuse --close half-close",
        "--syn-only sends SYNs and nothing else, with the packet engine; without --reuse, --close half-close",
    ),
    (
        "--syn-only --protocol udp --requests-per-connection 1 --engine socket",
        (
            "--syn-only sends SYNs and nothing else, with the packet engine; without "
            "--protocol udp, --requests-per-connection, --engine socket"
        ),
    ),
    (
        "-n 101 --engine scapy",
        (
            "-n 101: the scapy engine explains each packet, one invocation after the other; "
            "-n 100 at most, or --engine packet"
        ),
    ),
    (
        "--resolver-schedule node --connections-per-environment 5",
        (
            "--resolver-schedule node: Node looks up 4 names at a time, in libuv's threads, and an environment that "
            "has more connections would wait for one; --connections-per-environment 4 at most"
        ),
    ),
    (
        "--side-by-side --leave-open",
        "--side-by-side --leave-open: the first half must be closed before the second begins",
    ),
]


@pytest.mark.parametrize(("arguments", "text"), _REFUSALS)
def test_refusals(run: Run, arguments: str, text: str) -> None:
    """A load that makes no sense ends with status 2 and a sentence that says what is allowed."""
    count = () if "-n" in arguments.split() else ("-n", "5")
    assert run("burst", *count, *arguments.split()) == (2, "", f"{text}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        "-n 1000000000",
        "-n 26 --ramp 5:0:10",  # the last one comes in the very moment in which the rate is 0
        "--ramp 10:10:1",
        "--hold 0",
        "--connect-timeout 86400",
        "--requests-per-connection 65000",
        "--connections-per-environment 1024",
        "--connections-per-environment 65000 --descriptors 1024",
        "--syn-only --rate 5 --hold 1",
        "--engine scapy -n 100",
        "--resolver-schedule node --connections-per-environment 4",
        "--side-by-side --duration 0.1",
    ],
)
def test_what_is_allowed(run: Run, arguments: str) -> None:
    """At the edges of what is allowed the next thing that is missed is a lab."""
    count = () if "-n" in arguments.split() else ("-n", "5")
    assert run("burst", *count, *arguments.split()) == (2, "", "no lab is up; bring one up: lab up TOPOLOGY.yaml\n")


def test_python_has_the_same_refusals() -> None:
    """`Load` refuses by itself, whoever makes one."""
    with pytest.raises(UsageError, match="--rate -1: invocations per second"):
        Load(connections=1, rate_per_s=-1)


def test_options_are_the_fields() -> None:
    """`Lab.burst` takes every field of a load but the first, with the same types."""
    taken = signature(WatchedLoad).parameters
    for option in fields(Load)[1:]:
        assert (taken[option.name].default, taken[option.name].annotation) == (option.default, option.type)


# ── What follows from it ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "over_time"),
    [
        ({}, False),
        ({"hold_s": 5.0}, False),  # all at once: held together after the last outcome
        ({"rate_per_s": 10.0}, False),  # held to the end
        ({"rate_per_s": 10.0, "hold_s": 0.0}, True),
        ({"ramp": Ramp(0, 10, 1), "hold_s": 5.0}, True),
        ({"lambda_scaling": True, "hold_s": 5.0}, True),
        ({"reuse": True}, True),
        ({"rate_per_s": 10.0, "hold_s": 5.0, "syn_only": True}, False),  # half-open ones end with the burst
    ],
)
def test_over_time(options: dict[str, Any], over_time: bool) -> None:  # noqa: FBT001 -- a table's
    """A load goes on over time where each connection ends by itself."""
    assert Load(connections=10, **options).over_time is over_time


@pytest.mark.parametrize(
    ("options", "at_once"),
    [
        ({}, 200_000),
        ({"rate_per_s": 8_000.0}, 200_000),
        ({"rate_per_s": 8_000.0, "hold_s": 10.0}, 84_000),  # and half a second until a slot is free
        ({"rate_per_s": 8_000.0, "hold_s": 60.0}, 200_000),
        ({"ramp": Ramp(0, 8_000, 10), "hold_s": 0.5}, 8_000),
        ({"rate_per_s": 8_000.0, "reuse": True, "duration_s": 0.5, "hold_s": 10.0}, 4_000),
        ({"rate_per_s": 8_000.0, "reuse": True}, None),
        ({"reuse": True, "duration_s": 0.5}, None),
        ({"lambda_scaling": True, "hold_s": 10.0}, None),
        ({"rate_per_s": 8_000.0, "hold_s": 10.0, "protocol": "udp"}, None),
        ({"protocol": "udp"}, 200_000),
    ],
)
def test_at_once(options: dict[str, Any], at_once: int | None) -> None:
    """How many connections there are at a time is the rate times their life; None where the network decides."""
    assert Load(connections=200_000, **options).at_once() == at_once


def test_a_port_hold_keeps_closed_connections_among_those_at_once() -> None:
    """A rate and a hold make fewer at once than with the time for which ports rest."""
    load = Load(connections=200_000, rate_per_s=100.0, hold_s=10.0)
    assert load.at_once() == 1_050
    assert load.at_once(port_hold_s=20.0) == 3_000


@pytest.mark.parametrize(
    ("options", "requests"),
    [
        ({}, 0),
        ({"requests_per_connection": 3}, 3),
        ({"reuse": True}, None),
        ({"reuse": True, "requests_per_connection": 3}, 3),
    ],
)
def test_requests(options: dict[str, Any], requests: int | None) -> None:
    """Without a number there are none, and no limit of them where connections are reused."""
    assert Load(connections=1, **options).requests == requests


def test_arrivals_and_growth() -> None:
    """A rate is steady, a ramp has an end, and Lambda's scaling is 1,000 environments and 100 more each second."""
    assert Load(connections=1, rate_per_s=5.0).arrivals == Arrivals(5.0)
    assert Load(connections=1, ramp=Ramp.parse("0:5000:60")).arrivals == Arrivals(0, 5000, 60)
    assert Load(connections=1).arrivals == Arrivals()
    assert Load(connections=1, lambda_scaling=True).growth == Growth(1000, 100)
    assert Load(connections=1).growth is None


@pytest.mark.parametrize(
    ("schedule", "fact"),
    [
        ("glibc", "A and AAAA at once, as glibc, again after 5 s"),
        ("lambda-python", "A and AAAA at once, as lambda-python, again after 2 s, 4 s, 6 s, 8 s"),
    ],
)
def test_a_look_up_in_words(schedule: Any, fact: str) -> None:
    """A report says when questions are asked again that nobody answers."""
    assert fact in facts_of(Load(5, resolver_schedule=schedule))
