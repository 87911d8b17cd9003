"""How much of a VPC a peak needs, what is left free at the peak, which quotas it takes, and what else would do."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lab.capacity.demand import MOST_SERVERS, Demand
from lab.capacity.layout import Layout, smallest
from lab.errors import UsageError
from lab.nodes import hyperplane_eni, nat_gateway
from lab.schema.limits import ENDPOINT_CONNECTIONS_PER_TARGET, ENI_CONNECTIONS, FUNCTION_SUBNETS
from lab.schema.names import DEFAULT_SECURITY_GROUPS, name_of_eni

__all__ = ["CapacityPlan", "LimitAtPeak", "Quota", "plan_capacity"]

_ENI, _NAT_GATEWAY = hyperplane_eni.KIND.name, nat_gateway.KIND.name

# Elastic IPs per Region and NAT gateways per Availability Zone: 5 each.
# https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
_REGION_EIPS_QUOTA = 5
_ZONE_NAT_GATEWAYS_QUOTA = 5

# us-east-1 has six availability zones, and no region has more.
_REGION_ZONES = 6

# "Elastic network interfaces per virtual private cloud (VPC)": 500; 250 until 2023.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
_VPC_ENIS_QUOTA = 500


@dataclass(frozen=True, slots=True)
class LimitAtPeak:
    """What the fullest of limiters that are alike holds at the peak; a NAT gateway, to each address of a server."""

    kind: str
    """The node kind."""
    nodes: tuple[str, ...]
    limit: int
    held: int
    elastic_ips: int = 0
    """Elastic IPs that carry the limit together; 0 where there are none."""

    @property
    def free(self) -> int:
        """Connections that it would still take."""
        return self.limit - self.held

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
    def capacities(self) -> dict[str, int]:
        """Node kind → the largest peak of this shape that all limiters of the kind carry, in the order of a path."""
        enis = {_ENI: self.layout.eni_capacity}
        if not self.layout.gateways:
            return enis
        return enis | {_NAT_GATEWAY: self.layout.nat_capacity(self.demand.servers, self.demand.addresses)}

    @property
    def capacity(self) -> int:
        """The largest peak of this shape that it carries with nothing left free."""
        return min(self.capacities.values())

    @property
    def bottleneck(self) -> str:
        """The node kind that refuses the next connection; of two that are full, the one that is first on a path."""
        capacities = self.capacities
        return min(capacities, key=capacities.__getitem__)

    @property
    def reserve(self) -> dict[str, int]:
        """Node kind → what its limiters would carry beyond the peak."""
        return {kind: capacity - self.demand.connections for kind, capacity in self.capacities.items()}

    @property
    def limits(self) -> tuple[LimitAtPeak, ...]:
        """That of the Hyperplane ENIs, then that of each NAT gateway."""
        demand, layout = self.demand, self.layout
        enis = tuple(name_of_eni(subnet, DEFAULT_SECURITY_GROUPS) for subnet in layout.subnet_names)
        gateways = zip(layout.gateway_names, layout.gateways, strict=True)
        return (
            LimitAtPeak(_ENI, enis, ENI_CONNECTIONS, -(-demand.connections // layout.subnets)),
            *(
                LimitAtPeak(
                    _NAT_GATEWAY,
                    (name,),
                    gateway.ports,
                    layout.offered(gateway, demand.to_one_server, demand.addresses),
                    gateway.elastic_ips,
                )
                for name, gateway in gateways
            ),
        )

    @property
    def quotas(self) -> tuple[Quota, ...]:
        """Every quota that the layout counts against, whether it has to be raised or not."""
        return _quotas(self.layout, self.demand)

    @property
    def private_link_targets(self) -> int:
        """How many targets the load balancer behind a server's PrivateLink endpoint needs, with the same headroom."""
        return -(-self.demand.to_one_server // self.demand.usable(ENDPOINT_CONNECTIONS_PER_TARGET))

    @property
    def private_link_interfaces(self) -> int | None:
        """How many network interfaces with a target each would do, each in an availability zone; None where none do."""
        usable = self.demand.usable(ENDPOINT_CONNECTIONS_PER_TARGET)
        interfaces = self.layout.endpoint_interfaces(self.demand.to_one_server, usable)
        return interfaces if 1 < interfaces <= _REGION_ZONES else None


def plan_capacity(demand: Demand) -> CapacityPlan:
    """The smallest number of NAT gateways, Elastic IPs and subnets that carries a demand.

    Raises UsageError for more than one function can have, and says how many functions would do.
    """
    layout = smallest(demand)
    bare = smallest(replace(demand, headroom_percent=0))
    if layout is None or bare is None:
        raise UsageError(_too_much(demand))
    within_quota = smallest(demand, demand.elastic_ips_quota)
    return CapacityPlan(demand, layout, bare, within_quota, _servers_within_quota(demand, layout))


def _quotas(layout: Layout, demand: Demand) -> tuple[Quota, ...]:
    gateways = len(layout.gateways)
    enis = Quota("Elastic network interfaces per VPC", _VPC_ENIS_QUOTA, layout.subnets + gateways)
    if not gateways:
        return (enis,)
    return (
        *_elastic_ip_quotas(layout, demand),
        Quota("NAT gateways per Availability Zone", _ZONE_NAT_GATEWAYS_QUOTA, gateways),
        enis,
    )


def _elastic_ip_quotas(layout: Layout, demand: Demand) -> tuple[Quota, ...]:
    return (
        Quota("Elastic IP addresses per public NAT gateway", demand.elastic_ips_quota, layout.most_elastic_ips),
        Quota("Elastic IP addresses per Region", _REGION_EIPS_QUOTA, layout.elastic_ips),
    )


def _servers_within_quota(demand: Demand, layout: Layout) -> int | None:
    """The smallest number of servers, no smaller than the demand's, with which no quota of Elastic IPs is too small."""
    if not any(quota.must_be_raised for quota in _elastic_ip_quotas(layout, demand)):
        return demand.servers
    for servers in range(demand.servers + 1, MOST_SERVERS + 1):
        spread = replace(demand, servers=servers)
        fewer = smallest(spread)
        if fewer and not any(quota.must_be_raised for quota in _elastic_ip_quotas(fewer, spread)):
            return servers
    return None


def _too_much(demand: Demand) -> str:
    per_function = FUNCTION_SUBNETS * demand.usable(ENI_CONNECTIONS)
    functions = -(-demand.connections // per_function)
    outside = "" if demand.to == "vpc" else "; or take the function out of the VPC, where there is no ENI"
    free = f"with {demand.headroom_percent} % of each left free" if demand.headroom_percent else "all full"
    return (
        f"a peak of {demand.connections:,} connections is more than one function carries: {FUNCTION_SUBNETS} subnets "
        f"are the most that it can have, and their Hyperplane ENIs carry {per_function:,}, {free}. Divide the load "
        f"among {functions:,} functions, each with a security group of its own (an ENI belongs to a subnet and a "
        f"security-group set), and plan each: --peak {-(-demand.connections // functions)}{outside}"
    )
