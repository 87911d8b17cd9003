"""How much of a VPC a peak needs: `lab predict` turned round. Pure arithmetic.

Connections take turns over a function's subnets, as in `lab.capacity.predict`, and go evenly to the servers. A
Hyperplane ENI counts all of its connections; a NAT gateway counts those to each server apart, from the subnets that
route to it. Which of the subnets takes the first turn is not known, so a gateway's share of an uneven rest is the
larger one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil
from typing import Literal

from lab.errors import UsageError
from lab.schema.limits import (
    ENDPOINT_CONNECTIONS_PER_TARGET,
    ENI_CONNECTIONS,
    FUNCTION_SUBNETS,
    LONGEST_TIMEOUT_S,
    NAT_CONNECTIONS_PER_DESTINATION,
    NAT_EIPS,
)

__all__ = [
    "HEADROOM_PERCENT",
    "NAT_EIPS_QUOTA",
    "Bottleneck",
    "CapacityPlan",
    "Demand",
    "Gateway",
    "Layout",
    "Limiter",
    "Quota",
    "plan_capacity",
]

Bottleneck = Literal["hyperplane_eni", "nat_gateway"]

# The lab's own choice. Something has to be free for what the arithmetic leaves out: a NAT gateway's hash over its
# Elastic IPs "does not necessarily guarantee an equal distribution" (https://repost.aws/questions/QUb9steRSXSwm2ZhimPawCHw),
# Lambda publishes nothing of its spread over subnets, SYNs without an answer hold slots, and peaks grow.
HEADROOM_PERCENT = 20
_MOST_HEADROOM_PERCENT = 99

# "By default, you can associate up to 2 Elastic IP addresses per public NAT gateway."
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssociateNatGatewayAddress.html
NAT_EIPS_QUOTA = 2

# Elastic IPs per Region and NAT gateways per Availability Zone: 5 each.
# https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
_REGION_EIPS_QUOTA = 5
_ZONE_NAT_GATEWAYS_QUOTA = 5

# "Elastic network interfaces per virtual private cloud (VPC)": 500; 250 until 2023.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
_VPC_ENIS_QUOTA = 500

# A server is a namespace in the lab. From the 19th on they change nothing: one Elastic IP then carries all that 16
# Hyperplane ENIs can.
_MOST_SERVERS = 100

_HIGHEST_RATE = 1_000_000_000


# ── What is asked ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A peak, in connections at the same time or as a rate and a time, and what may be used to carry it."""

    peak: int | None = None
    per_second: float | None = None
    hold_s: float | None = None
    port_hold_s: int = 0
    """For how long a NAT keeps a port after its connection has closed."""
    servers: int = 1
    """Unique destinations, over which the connections spread evenly."""
    headroom_percent: int = HEADROOM_PERCENT
    """The share of each limit that is free at the peak."""
    nat_gateways: int = 1
    """At least so many."""
    elastic_ips_quota: int = NAT_EIPS_QUOTA
    """The account's quota of Elastic IPs per NAT gateway."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense, each with what is allowed."""
        _require_a_peak(self)
        _require_a_rate(self)
        _require_within("servers", self.servers, 1, _MOST_SERVERS, "unique destinations, a namespace each in the lab")
        _require_within(
            "headroom", self.headroom_percent, 0, _MOST_HEADROOM_PERCENT, "percent of each limit to leave free"
        )
        _require_within(
            "nat-gateways", self.nat_gateways, 1, FUNCTION_SUBNETS, "at least so many; each serves a subnet or more"
        )
        _require_within(
            "elastic-ips-quota", self.elastic_ips_quota, 1, NAT_EIPS, "Elastic IPs that a NAT gateway may have"
        )

    @property
    def little(self) -> int:
        """Connections at the same time by Little's law, rate times time, rounded up; 0 without a rate."""
        if self.per_second is None or self.hold_s is None:
            return 0
        # As they were typed: 1,000 a second for 0.55 s are 550, not 551.
        return ceil(_as_typed(self.per_second) * (_as_typed(self.hold_s) + self.port_hold_s))

    @property
    def connections(self) -> int:
        """The peak: the larger one if both are given."""
        return max(self.peak or 0, self.little)


def _as_typed(value: float) -> Fraction:
    return Fraction(str(value))


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
    _require_within("port-hold", demand.port_hold_s, 0, LONGEST_TIMEOUT_S, "seconds")


def _require_within(option: str, value: int, least: int, most: int, what: str) -> None:
    if not least <= value <= most:
        raise UsageError(f"--{option} {value}: {least} to {most:,} {what}")


# ── What carries it ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Gateway:
    """A NAT gateway: how many of the function's subnets route to it, and its Elastic IPs."""

    subnets: int
    elastic_ips: int


@dataclass(frozen=True, slots=True)
class Layout:
    """One function's way out; the gateway that fills first is the first."""

    gateways: tuple[Gateway, ...]

    @property
    def subnets(self) -> int:
        """Private subnets of the function, a Hyperplane ENI each."""
        return sum(each.subnets for each in self.gateways)

    @property
    def elastic_ips(self) -> int:
        """All of them."""
        return sum(each.elastic_ips for each in self.gateways)

    @property
    def most_elastic_ips(self) -> int:
        """Of the NAT gateway that has most."""
        return max(each.elastic_ips for each in self.gateways)

    @property
    def eni_capacity(self) -> int:
        """Connections that the Hyperplane ENIs carry."""
        return self.subnets * ENI_CONNECTIONS

    def nat_capacity(self, servers: int) -> int:
        """Connections that the NAT gateways carry, spread evenly over the subnets and the servers."""
        return servers * min(_carries(each, self.subnets) for each in self.gateways)


def _offered(connections: int, subnets: int, behind: int) -> int:
    """The most that a NAT gateway behind some of the subnets sees of connections that take turns over all of them."""
    rounds, rest = divmod(connections, subnets)
    return rounds * behind + min(rest, behind)


def _carries(gateway: Gateway, subnets: int) -> int:
    """The largest number of which a gateway is offered no more than it has ports: the reverse of `_offered`."""
    rounds, rest = divmod(gateway.elastic_ips * NAT_CONNECTIONS_PER_DESTINATION, gateway.subnets)
    return rounds * subnets + rest


def _smallest(demand: Demand, most_elastic_ips: int = NAT_EIPS) -> Layout | None:
    """The layout with fewest NAT gateways, of these with fewest Elastic IPs, of these with fewest subnets.

    In this order because AWS charges by the hour for the first two, and nothing for subnets and Hyperplane ENIs.
    """
    for gateways in range(demand.nat_gateways, FUNCTION_SUBNETS + 1):
        if found := list(_layouts(demand, gateways, most_elastic_ips)):
            return min(found, key=lambda each: (each.elastic_ips, each.subnets, _unevenness(each)))
    return None


def _layouts(demand: Demand, gateways: int, most_elastic_ips: int) -> Iterator[Layout]:
    """Every layout with so many NAT gateways that carries the demand."""
    per_eni, per_eip = (_usable(limit, demand) for limit in (ENI_CONNECTIONS, NAT_CONNECTIONS_PER_DESTINATION))
    to_one_server = -(-demand.connections // demand.servers)
    for subnets in range(max(gateways, -(-demand.connections // per_eni)), FUNCTION_SUBNETS + 1):
        for parts in _parts(subnets, gateways):
            made = [Gateway(part, -(-_offered(to_one_server, subnets, part) // per_eip)) for part in parts]
            if all(each.elastic_ips <= most_elastic_ips for each in made):
                yield Layout(tuple(sorted(made, key=lambda each: _carries(each, subnets))))


def _usable(limit: int, demand: Demand) -> int:
    return limit * (100 - demand.headroom_percent) // 100


def _parts(total: int, count: int, most: int | None = None) -> Iterator[tuple[int, ...]]:
    """Every way to divide subnets among NAT gateways, each with one or more, the largest part first."""
    if count == 1:
        if most is None or total <= most:
            yield (total,)
        return
    for first in range(min(total - count + 1, most or total), 0, -1):
        yield from ((first, *rest) for rest in _parts(total - first, count - 1, first))


def _unevenness(layout: Layout) -> int:
    sizes = [each.subnets for each in layout.gateways]
    return max(sizes) - min(sizes)


# ── What to know about it ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Limiter:
    """What a Hyperplane ENI, or one NAT gateway, holds at the peak; of a NAT gateway, to each server."""

    kind: Bottleneck
    count: int
    """How many of this kind are alike."""
    elastic_ips: int
    limit: int
    at_peak: int

    @property
    def free(self) -> int:
        """Connections that it would still take."""
        return self.limit - self.at_peak

    @property
    def free_percent(self) -> float:
        """The share of its limit that is free."""
        return 100 * self.free / self.limit


@dataclass(frozen=True, slots=True)
class Quota:
    """One of AWS's quotas: what the account has, or has by default, and what the plan needs."""

    name: str
    has: int
    needed: int

    @property
    def must_be_raised(self) -> bool:
        """Whether the plan needs more than there is."""
        return self.needed > self.has


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """The smallest layout that carries a demand, and what else there would be."""

    demand: Demand
    layout: Layout
    bare: Layout
    """What would do with no headroom: the difference is the price of the headroom."""
    within_quota: Layout | None
    """What does without raising the quota of Elastic IPs per NAT gateway; None if nothing does."""
    servers_within_quota: int | None
    """With so many servers the quotas of Elastic IPs need not be raised; None if no number helps."""

    @property
    def capacity(self) -> int:
        """The largest peak of this shape that it carries with nothing left free."""
        return min(self.layout.eni_capacity, self.layout.nat_capacity(self.demand.servers))

    @property
    def bottleneck(self) -> Bottleneck:
        """What refuses the next connection; of two that are full, the ENI, which comes first on the way."""
        nat_capacity = self.layout.nat_capacity(self.demand.servers)
        return "hyperplane_eni" if self.layout.eni_capacity <= nat_capacity else "nat_gateway"

    @property
    def reserve(self) -> dict[Bottleneck, int]:
        """What the ENIs, and the NAT gateways, would carry beyond the peak."""
        layout, peak = self.layout, self.demand.connections
        return {
            "hyperplane_eni": layout.eni_capacity - peak,
            "nat_gateway": layout.nat_capacity(self.demand.servers) - peak,
        }

    @property
    def limiters(self) -> tuple[Limiter, ...]:
        """The fullest of the Hyperplane ENIs, then each NAT gateway."""
        demand, subnets = self.demand, self.layout.subnets
        to_one_server = -(-demand.connections // demand.servers)
        eni = Limiter("hyperplane_eni", subnets, 0, ENI_CONNECTIONS, -(-demand.connections // subnets))
        return (
            eni,
            *(
                Limiter(
                    "nat_gateway",
                    1,
                    each.elastic_ips,
                    each.elastic_ips * NAT_CONNECTIONS_PER_DESTINATION,
                    _offered(to_one_server, subnets, each.subnets),
                )
                for each in self.layout.gateways
            ),
        )

    @property
    def quotas(self) -> tuple[Quota, ...]:
        """All that it touches."""
        return _quotas(self.layout, self.demand)

    @property
    def private_link_targets(self) -> int:
        """How many targets the load balancer behind a PrivateLink endpoint needs, with the same headroom."""
        return -(-self.demand.connections // _usable(ENDPOINT_CONNECTIONS_PER_TARGET, self.demand))


def _quotas(layout: Layout, demand: Demand) -> tuple[Quota, ...]:
    gateways = len(layout.gateways)
    return (
        Quota("Elastic IP addresses per public NAT gateway", demand.elastic_ips_quota, layout.most_elastic_ips),
        Quota("Elastic IP addresses per Region", _REGION_EIPS_QUOTA, layout.elastic_ips),
        Quota("NAT gateways per Availability Zone", _ZONE_NAT_GATEWAYS_QUOTA, gateways),
        Quota("Elastic network interfaces per VPC", _VPC_ENIS_QUOTA, layout.subnets + gateways),
    )


def plan_capacity(demand: Demand) -> CapacityPlan:
    """The smallest number of NAT gateways, Elastic IPs and subnets that carries a demand.

    Raises UsageError for more than one function can have, and says how many functions would do.
    """
    layout = _smallest(demand)
    bare = _smallest(replace(demand, headroom_percent=0))
    if layout is None or bare is None:
        raise UsageError(_too_much(demand))
    return CapacityPlan(
        demand, layout, bare, _smallest(demand, demand.elastic_ips_quota), _servers_within_quota(demand, layout)
    )


def _servers_within_quota(demand: Demand, layout: Layout) -> int | None:
    """The smallest number of servers, no smaller than the demand's, with which no quota of Elastic IPs is too small."""
    if not any(each.must_be_raised for each in _quotas(layout, demand)[:2]):
        return demand.servers
    for servers in range(demand.servers + 1, _MOST_SERVERS + 1):
        spread = replace(demand, servers=servers)
        fewer = _smallest(spread)
        if fewer and not any(each.must_be_raised for each in _quotas(fewer, spread)[:2]):
            return servers
    return None


def _too_much(demand: Demand) -> str:
    per_function = FUNCTION_SUBNETS * _usable(ENI_CONNECTIONS, demand)
    functions = -(-demand.connections // per_function)
    free = f"with {demand.headroom_percent} % of each left free" if demand.headroom_percent else "all full"
    return (
        f"a peak of {demand.connections:,} connections is more than one function carries: {FUNCTION_SUBNETS} subnets "
        f"are the most that it can have, and their Hyperplane ENIs carry {per_function:,}, {free}. Divide the load "
        f"among {functions:,} functions, each with a security group of its own (an ENI belongs to a subnet and a "
        f"security-group set), and plan each: --peak {-(-demand.connections // functions)}; or take the function "
        "out of the VPC, where there is no ENI"
    )
