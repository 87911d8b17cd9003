"""What `lab plan-capacity` is asked: a peak of connections, and what may be used to carry it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Literal, get_args

from lab.errors import UsageError
from lab.schema.limits import FUNCTION_SUBNETS, LONGEST_TIMEOUT_S, NAT_EIPS, SERVER_ADDRESSES

__all__ = ["HEADROOM_PERCENT", "MOST_SERVERS", "NAT_EIPS_QUOTA", "Demand", "Place"]

Place = Literal["internet", "vpc", "s3", "dynamodb"]
"""Where servers are: on the internet, in the function's VPC, or behind a gateway endpoint."""

_WHERE = {
    "internet": "",
    "vpc": " in the VPC",
    "s3": " of S3, by a gateway endpoint",
    "dynamodb": " of DynamoDB, by a gateway endpoint",
}

# The lab's own choice. Something has to be free for what the arithmetic leaves out: a NAT gateway's hash over its
# Elastic IPs "does not necessarily guarantee an equal distribution" (https://repost.aws/questions/QUb9steRSXSwm2ZhimPawCHw),
# Lambda publishes nothing of its spread over subnets, SYNs without an answer hold slots, and peaks grow.
HEADROOM_PERCENT = 20
_MOST_HEADROOM_PERCENT = 99

# "By default, you can associate up to 2 Elastic IP addresses per public NAT gateway."
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssociateNatGatewayAddress.html
NAT_EIPS_QUOTA = 2

# A server is a namespace in the lab. From the 19th on they change nothing: one Elastic IP then carries all that 16
# Hyperplane ENIs can.
MOST_SERVERS = 100

_HIGHEST_RATE = 1_000_000_000

_RANGES = (
    ("servers", "--servers", 1, MOST_SERVERS, "unique destinations, a namespace each in the lab"),
    ("addresses", "--addresses", 1, SERVER_ADDRESSES, "addresses of each server, a unique destination each"),
    ("headroom_percent", "--headroom", 0, _MOST_HEADROOM_PERCENT, "percent of each limit to leave free"),
    ("nat_gateways", "--nat-gateways", 1, FUNCTION_SUBNETS, "at least so many; each serves a subnet or more"),
    ("elastic_ips_quota", "--elastic-ips-quota", 1, NAT_EIPS, "Elastic IPs that a NAT gateway may have"),
)
"""Field, the option that sets it, least, most, and what it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A peak, in connections at the same time or as a rate and a time, and what may be used to carry it."""

    peak: int | None = None
    per_second: float | None = None
    hold_s: float | None = None
    port_hold_s: int = 0
    """For how long a NAT keeps a port after its connection has closed."""
    servers: int = 1
    """Servers, over which the connections spread evenly: a unique destination each, if it has one address."""
    addresses: int = 1
    """How many each of them has, over which its connections take turns: as many unique destinations."""
    headroom_percent: int = HEADROOM_PERCENT
    """The share of each limit that is free at the peak."""
    to: Place = "internet"
    """Where the servers are."""
    nat_gateways: int = 1
    """The fewest NAT gateways, such as one for each availability zone."""
    elastic_ips_quota: int = NAT_EIPS_QUOTA
    """The account's quota of Elastic IPs per NAT gateway."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense, each with what is allowed."""
        _require_a_peak(self)
        _require_a_rate(self)
        for field, option, least, most, what in _RANGES:
            _require_within(option, getattr(self, field), least, most, what)
        _require_a_place(self)

    @property
    def through_nat_gateways(self) -> bool:
        """Whether a NAT gateway is on the way to the servers."""
        return self.to == "internet"

    @property
    def little(self) -> int:
        """Connections at the same time by Little's law, rate times time, rounded up; 0 without a rate."""
        if self.per_second is None or self.hold_s is None:
            return 0
        # As they were typed: 1,000 a second for 0.55 s are 550, not 551.
        return ceil(Fraction(str(self.per_second)) * (Fraction(str(self.hold_s)) + self.port_hold_s))

    @property
    def connections(self) -> int:
        """The peak: the larger one if both are given."""
        return max(self.peak or 0, self.little)

    @property
    def whom(self) -> str:
        """The servers in words."""
        where = _WHERE[self.to]
        return f"one server{where}" if self.servers == 1 else f"{self.servers} servers{where}, evenly"

    @property
    def to_one_server(self) -> int:
        """The most connections of the peak that go to the same server."""
        return -(-self.connections // self.servers)

    def usable(self, limit: int) -> int:
        """What may be used of a limit."""
        return limit * (100 - self.headroom_percent) // 100


def _require_a_peak(demand: Demand) -> None:
    if demand.peak is None and demand.per_second is None and demand.hold_s is None:
        raise UsageError(
            "a peak is needed: --peak 130000, or a rate and a time: --per-second 5000 --hold 30 (Little's law)"
        )
    if demand.peak is not None and demand.peak < 1:
        raise UsageError(f"--peak {demand.peak}: a peak has at least one connection; --peak 130000")


def _require_a_rate(demand: Demand) -> None:
    rate, hold_s = demand.per_second, demand.hold_s
    if rate is None and hold_s is not None:
        raise UsageError(f"--hold {hold_s:g}: says nothing without a rate; add --per-second, such as --per-second 5000")
    if rate is not None and hold_s is None:
        raise UsageError(f"--per-second {rate:g}: says nothing without a time; add --hold SECONDS, such as --hold 30")
    if rate is None and demand.port_hold_s:
        raise UsageError(
            f"--port-hold {demand.port_hold_s}: ports are held after connections close, which they do at a rate; "
            "add --per-second and --hold"
        )
    if rate is not None and not 0 < rate <= _HIGHEST_RATE:
        raise UsageError(f"--per-second {rate:g}: new connections per second, more than 0 and up to {_HIGHEST_RATE:,}")
    if hold_s is not None and not 0 < hold_s <= LONGEST_TIMEOUT_S:
        raise UsageError(f"--hold {hold_s:g}: seconds, more than 0 and up to {LONGEST_TIMEOUT_S:,}")
    _require_within("--port-hold", demand.port_hold_s, 0, LONGEST_TIMEOUT_S, "seconds")


def _require_a_place(demand: Demand) -> None:
    if demand.to not in get_args(Place):
        raise UsageError(f"--to {demand.to}: where the servers are: {', '.join(get_args(Place))}")
    if demand.nat_gateways > 1 and not demand.through_nat_gateways:
        raise UsageError(f"--nat-gateways {demand.nat_gateways}: none is on the way to servers with --to {demand.to}")
    if demand.addresses > 1 and demand.to == "vpc":
        raise UsageError(f"--addresses {demand.addresses}: a server in a VPC has one; count each as one of --servers")


def _require_within(option: str, value: int, least: int, most: int, what: str) -> None:
    if not least <= value <= most:
        raise UsageError(f"{option} {value}: {least} to {most:,} {what}")
