"""Faults on the way, without a lab: how they are written, what is refused, the qdisc that they become."""

from __future__ import annotations

import struct
from typing import Any

from pyroute2.netlink.rtnl.tcmsg import tcmsg
import pytest

from lab.errors import UsageError
from lab.impair.faults import FaultOptions, Faults, loss_of, time_of
from lab.impair.qdisc import faults_of, words_for

# ── As people write them ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "bit_per_s"),
    [
        ("10mbit", 10_000_000),
        ("500kbit", 500_000),
        ("1gbit", 1_000_000_000),
        ("0.5mbit", 500_000),
        ("9600bit", 9_600),
        ("10 Mbit", 10_000_000),
    ],
)
def test_rate(text: str, bit_per_s: int) -> None:
    """A rate is a number and a unit of bits per second, counted in thousands, in any case."""
    assert Faults.of(rate=text).rate_bit_per_s == bit_per_s


@pytest.mark.parametrize(("text", "seconds"), [("100ms", 0.1), ("1.5s", 1.5), ("250us", 0.00025), ("0ms", 0.0)])
def test_time(text: str, seconds: float) -> None:
    """A time is a number and a unit."""
    assert time_of(text, "--latency") == pytest.approx(seconds)


@pytest.mark.parametrize(("text", "percent"), [("1", 1), ("0.5%", 0.5), ("0", 0), ("100 %", 100)])
def test_loss(text: str, percent: float) -> None:
    """A loss is a percentage, with its sign or without."""
    assert loss_of(text) == percent


@pytest.mark.parametrize("text", ["fast", "10", "-1mbit", "10mb", "10mbit/s", "", "1e6bit", "9" * 400 + "gbit"])
def test_no_rate(text: str) -> None:
    """What is no rate is refused with how one is written."""
    with pytest.raises(UsageError, match="write it like 10mbit, 500kbit or 1gbit"):
        Faults.of(rate=text)


@pytest.mark.parametrize("text", ["soon", "5", "-5ms", "1m", "9" * 400 + "s"])
def test_no_time(text: str) -> None:
    """What is no time is refused with how one is written."""
    with pytest.raises(UsageError, match=r"^--jitter .*: write it like 100ms"):
        time_of(text, "--jitter")


@pytest.mark.parametrize("text", ["much", "-1", "1/2"])
def test_no_loss(text: str) -> None:
    """What is no percentage is refused with how one is written."""
    with pytest.raises(UsageError, match=r"a percentage from 0 to 100"):
        loss_of(text)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rate": "0mbit"}, "--rate 0bit: from 1kbit to 34gbit"),
        ({"rate": "100gbit"}, "--rate 100gbit: from 1kbit to 34gbit"),
        ({"loss_percent": 120}, "--loss 120: a percentage from 0 to 100"),
        ({"loss_percent": -1}, "--loss -1: a percentage from 0 to 100"),
        ({"loss_percent": float("nan")}, "--loss nan: a percentage from 0 to 100"),
        ({"latency_s": -0.005}, "--latency -5ms: from 0s to 274s"),
        ({"latency_s": 300}, "--latency 300s: from 0s to 274s"),
        ({"latency_s": 1, "jitter_s": 3}, "--jitter 3s: from 0s to 2s"),
        ({"jitter_s": 0.1}, "--jitter varies a latency; give --latency as well"),
    ],
)
def test_out_of_range(options: FaultOptions, text: str) -> None:
    """A value that makes no sense is refused with what does."""
    with pytest.raises(UsageError) as refused:
        Faults.of(**options)
    assert str(refused.value) == text


def test_said_as_written() -> None:
    """Faults are said in the words in which people write them; no faults are nothing."""
    said = str(Faults.of(rate="1.5mbit", loss_percent=0.5, latency_s=0.1, jitter_s=0.00025, silence=True))
    assert said == "rate 1.5mbit, loss 0.5%, latency 100ms, jitter 250us, silence"
    assert str(Faults()) == "nothing"
    assert not Faults()


# ── As qdiscs ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"silence": True}, ""),
        ({"rate": "500kbit"}, "tbf rate 500000bit burst 5000 latency 70000us"),
        ({"rate": "1gbit", "silence": True}, "tbf rate 1000000000bit burst 1250000 latency 70000us"),
        ({"loss_percent": 1.5}, "netem limit 500000 loss 1.500000%"),
        ({"latency_s": 0.1}, "netem limit 500000 delay 100000us 0us"),
        (
            {"latency_s": 0.1, "jitter_s": 0.01, "loss_percent": 1, "rate": "10mbit"},
            "netem limit 3936 delay 100000us 10000us loss 1.000000% rate 10000000bit",
        ),
    ],
)
def test_words_for_tc(options: FaultOptions, words: str) -> None:
    """A rate alone is a token bucket; loss and latency are netem's, and then the rate is, too."""
    assert words_for(Faults.of(**options)) == words


_OPTIONS, _KIND, _NETEM_RATE = 2, 1, 6  # linux/rtnetlink.h, linux/pkt_sched.h


def _attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("HH", len(payload) + 4, kind) + payload


def netem(delay: int, limit: int, loss: int, jitter: int, rate: int) -> Any:
    """A message about a netem qdisc, delays in ticks, the rate in bytes per second."""
    options = struct.pack("6I", delay, limit, loss, 0, 0, jitter)
    options += _attribute(_NETEM_RATE, struct.pack("IiIi", rate, 0, 0, 0))
    body = struct.pack("BBHiIII", 0, 0, 0, 1, 0x1AB00000, 0xFFFFFFFF, 0)
    body += _attribute(_KIND, b"netem\0" + bytes(2)) + _attribute(_OPTIONS, options)
    message = tcmsg(struct.pack("IHHII", len(body) + 16, 36, 0, 1, 0) + body)
    message.decode()
    return message


def test_what_a_netem_qdisc_does() -> None:
    """Of a netem qdisc is read what was asked for: the numbers are those that tc 6.1 makes of these faults."""
    faults = Faults.of(latency_s=0.1, jitter_s=0.01, loss_percent=1.5, rate="10mbit")
    assert faults_of(netem(1_562_500, 5_000, 0x03D70A3D, 156_250, 1_250_000)) == faults
    assert faults_of(netem(0, 1_000, 2**32 - 1, 0, 0)) == Faults(loss_percent=100)
    assert faults_of(netem(0, 1_000, 0, 156_250, 0)) == Faults(latency_s=0, jitter_s=0.01)
