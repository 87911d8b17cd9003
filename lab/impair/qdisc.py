"""Queueing disciplines that bring faults: a token bucket where there is a rate alone, netem for loss and latency.

`tc`, which comes with `ip`, sets them, in the words of its manuals: pyroute2 0.9.7 cannot encode netem's rate.
"""

from __future__ import annotations

from math import ceil
import subprocess
from typing import Any

from lab.errors import KernelError, PreflightError
from lab.impair.faults import Faults
from lab.kernel.preflight import find

__all__ = ["dropped_by", "faults_of", "tc", "words_for"]

_QUEUE_S = 0.07
"""How long a packet may wait for its turn at a rate: the example in tc-tbf(8)."""
_TICK_S, _LEAST_BUCKET_BYTES = 0.01, 5_000
"""A bucket of tokens holds what the rate lets pass in a tick of the slowest kernels (HZ=100), as tc-tbf(8) asks, and
not less than its example for small rates, which has room for three full frames."""
_LEAST_FRAME_BYTES = 54
"""Ethernet, IPv4 and TCP headers."""
_NETEM_PACKETS = 500_000
"""A delay line must not drop by being short: netem's own 1,000 packets are 20 ms of a burst at full speed."""
_TICKS_PER_S = 15_625_000
"""Ticks of 64 ns (PSCHED_SHIFT, include/net/pkt_sched.h)."""
_CERTAIN = 2**32 - 1
"""A probability of 1 in netem's terms."""

_UNKNOWN_KIND = ("qdisc kind is unknown", "No such file or directory")
"""What `tc` says where the kernel lacks the qdisc: the kernel's own words, or the error's if there are none."""

_FOR = {"tbf": "a rate needs", "netem": "loss and latency need"}
_INSTEAD = {"tbf": "", "netem": "; --rate and --silence work without it"}


def words_for(faults: Faults) -> str:
    """A qdisc in tc's words; nothing when what is sent is to be left alone."""
    if faults.needs_netem:
        return _netem(faults)
    rate = faults.rate_bit_per_s
    if rate is None:
        return ""
    bucket = max(ceil(rate / 8 * _TICK_S), _LEAST_BUCKET_BYTES)
    return f"tbf rate {rate}bit burst {bucket} latency {_us(_QUEUE_S)}"


def _netem(faults: Faults) -> str:
    """Loss, delay and a rate in one: netem's rate "is a replacement for TBF" (tc-netem(8))."""
    words = [f"netem limit {_netem_packets(faults)}"]
    if faults.latency_s is not None:
        words.append(f"delay {_us(faults.latency_s)} {_us(faults.jitter_s or 0)}")
    if faults.loss_percent is not None:
        words.append(f"loss {faults.loss_percent:f}%")
    if faults.rate_bit_per_s is not None:
        words.append(f"rate {faults.rate_bit_per_s}bit")
    return " ".join(words)


def _netem_packets(faults: Faults) -> int:
    """Room for all that are on their way; with a rate, for what can be on its way and waits no longer than in TBF.

    It is counted in the smallest frames: better a longer queue for large ones than a rate that small ones never reach.
    """
    if faults.rate_bit_per_s is None:
        return _NETEM_PACKETS
    underway_bytes = faults.rate_bit_per_s / 8 * ((faults.latency_s or 0) + _QUEUE_S)
    return min(max(ceil(underway_bytes / _LEAST_FRAME_BYTES), 1), _NETEM_PACKETS)


def _us(time_s: float) -> str:
    return f"{round(time_s * 1_000_000)}us"


def tc(commands: str, kind: str = "") -> None:
    """Run commands in the namespace of this thread, up to the first that the kernel refuses.

    PreflightError if that is because it has no qdisc of this kind.
    """
    done = subprocess.run(
        [find("tc") or "tc", "-batch", "-"],
        input=commands,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if kind and any(words in done.stderr for words in _UNKNOWN_KIND):
        raise PreflightError(
            f"this kernel has no {kind}, which {_FOR[kind]} (sch_{kind}, CONFIG_NET_SCH_{kind.upper()}); nothing has "
            f"changed; run: sudo modprobe sch_{kind}; on Ubuntu, before that: "
            f"sudo apt-get install -y linux-modules-extra-$(uname -r){_INSTEAD[kind]}"
        )
    if done.returncode != 0:
        raise KernelError(f"the kernel refused a step: tc: {' '.join(done.stderr.split())}")


def faults_of(message: Any) -> Faults:
    """What a qdisc does that these words have made, from the kernel's message about it."""
    options = message.get_attr("TCA_OPTIONS")
    if message.get_attr("TCA_KIND") == "tbf":
        return Faults(rate_bit_per_s=options.get_attr("TCA_TBF_PARMS")["rate"] * 8)
    rate = options.get_attr("TCA_NETEM_RATE")
    latency_s, jitter_s = _seconds(options["delay"]), _seconds(options["jitter"])
    return Faults(
        rate_bit_per_s=rate["rate"] * 8 if rate and rate["rate"] else None,
        loss_percent=round(options["loss"] / _CERTAIN * 100, 6) or None,
        latency_s=latency_s if latency_s or jitter_s else None,
        jitter_s=jitter_s or None,
    )


def _seconds(ticks: int) -> float:
    return round(ticks / _TICKS_PER_S, 6)


def dropped_by(message: Any) -> int:
    """How many packets a qdisc has dropped, from the kernel's message about it."""
    count: int = message.get_attr("TCA_STATS2").get_attr("TCA_STATS_QUEUE")["drops"]
    return count
