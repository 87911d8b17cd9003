"""The vocabulary of a plan: one frozen value for each kernel object, and the plan that orders them.

A plan is data. It is printed by `lab up --dry-run`, applied by `lab.kernel.apply`, and recorded as JSON so that
`lab down` and `lab burst` work when the topology file has changed, moved or vanished.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
import json
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from lab.schema.descriptors import DescriptorLimit
from lab.schema.drops import DropPoint
from lab.slots.counters import NatNode
from lab.slots.limiter import Limiter
from lab.slots.nft import Table
from traffic.spec import BurstSpec, EniPath, PortBlocks, ResolverSpec, ServerSpec

__all__ = [
    "Address",
    "Bridge",
    "BridgePort",
    "BurstSpec",
    "Certificate",
    "ConntrackMax",
    "DropCounter",
    "EniPath",
    "File",
    "FleetPlan",
    "KernelObject",
    "Limiter",
    "Namespace",
    "NatNode",
    "Neighbour",
    "NodePlan",
    "Plan",
    "Port",
    "PortBlocks",
    "Process",
    "ResolverSpec",
    "Route",
    "RouteKind",
    "Rule",
    "Ruleset",
    "ServerPlan",
    "ServerSpec",
    "Standing",
    "Sysctl",
    "VethPair",
    "plan_from_json",
    "plan_to_json",
    "remains_from_json",
]

MAIN_TABLE = 254
LOCAL_TABLE = 255

RouteKind = Literal["unicast", "local", "blackhole"]


@dataclass(frozen=True, slots=True)
class ConntrackMax:
    """The one host-wide setting: `net.netfilter.nf_conntrack_max` of at least `entries` while the lab is up.

    It is read-only in other namespaces and compared with each namespace's own count (nf_conntrack_core.c).
    """

    entries: int
    kind: Literal["conntrack_max"] = "conntrack_max"


@dataclass(frozen=True, slots=True)
class Namespace:
    """A network namespace, visible to `ip netns`."""

    name: str
    kind: Literal["namespace"] = "namespace"


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A per-namespace kernel setting, `net.ipv4.ip_forward` as `sysctl` writes it."""

    namespace: str
    key: str
    value: str
    optional: bool = False
    """Whether a kernel built without it can be used all the same."""
    kind: Literal["sysctl"] = "sysctl"


@dataclass(frozen=True, slots=True)
class Port:
    """One end of a veth pair."""

    namespace: str
    interface: str
    mac: str


@dataclass(frozen=True, slots=True)
class VethPair:
    """A veth pair, created straight into two namespaces and set up."""

    a: Port
    b: Port
    kind: Literal["veth"] = "veth"


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge, without ports."""

    namespace: str
    interface: str
    kind: Literal["bridge"] = "bridge"


@dataclass(frozen=True, slots=True)
class BridgePort:
    """An interface that a bridge joins, and the one MAC address behind it: the bridge need not learn it."""

    namespace: str
    bridge: str
    interface: str
    mac: str
    kind: Literal["bridge_port"] = "bridge_port"


@dataclass(frozen=True, slots=True)
class Address:
    """An address on an interface."""

    namespace: str
    interface: str
    address: IPv4Interface
    kind: Literal["address"] = "address"


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A permanent neighbour entry: the lab knows every MAC address, so no ARP request precedes the first SYN."""

    namespace: str
    interface: str
    address: IPv4Address
    mac: str
    kind: Literal["neighbour"] = "neighbour"


@dataclass(frozen=True, slots=True)
class Route:
    """A route; `via` is taken to be on the link, whatever the interface's own prefix."""

    namespace: str
    destination: IPv4Network
    interface: str | None = None
    via: IPv4Address | None = None
    table: int = MAIN_TABLE
    type: RouteKind = "unicast"
    kind: Literal["route"] = "route"


@dataclass(frozen=True, slots=True)
class Rule:
    """A policy routing rule: packets that match look up `table`."""

    namespace: str
    priority: int
    table: int
    source: IPv4Network | None = None
    destination: IPv4Network | None = None
    input_interface: str | None = None
    protocol: Literal["tcp", "udp"] | None = None
    destination_port: int | None = None
    kind: Literal["rule"] = "rule"


@dataclass(frozen=True, slots=True)
class Ruleset:
    """An nftables ruleset: one table."""

    namespace: str
    table: Table
    kind: Literal["ruleset"] = "ruleset"

    @property
    def text(self) -> str:
        """What `nft -f -` reads."""
        return self.table.text


@dataclass(frozen=True, slots=True)
class File:
    """A file of the lab's own, under `/etc/netns/NAMESPACE`, where `ip netns exec` looks for per-namespace settings."""

    path: str
    text: str
    kind: Literal["file"] = "file"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A server's certificate with its key, for its hostname and addresses, from the lab's own authority."""

    path: str
    authority: str
    """The authority's certificate; it is made with the first one that it issues."""
    hostname: str
    addresses: tuple[IPv4Address, ...]
    kind: Literal["certificate"] = "certificate"


@dataclass(frozen=True, slots=True)
class Process:
    """A traffic process in a namespace: `python -m traffic VERB SPEC`."""

    namespace: str
    verb: Literal["resolver", "server"]
    spec: str
    kind: Literal["process"] = "process"


KernelObject = (
    ConntrackMax
    | Namespace
    | Sysctl
    | VethPair
    | Bridge
    | BridgePort
    | Address
    | Process
    | Certificate
    | Neighbour
    | Route
    | Rule
    | Ruleset
    | File
)
"""The kinds of objects in the order in which a plan lists them: processes start while routes are still being made."""


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A node as people know it: its name, what it is, its namespace, the addresses that matter."""

    name: str
    kind: str
    """Its node kind, which is a module of `lab.plan.nodes`."""
    namespace: str
    addresses: tuple[str, ...]
    alias: str | None = None
    """The name that the topology gives it, where that differs (`checkout` for `fn-checkout`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropCounter(DropPoint):
    """A drop, and the nft counter that counts its packets."""

    namespace: str
    table: str
    counter: str
    family: Literal["ip", "netdev"] = "ip"
    """The family of its table."""


@dataclass(frozen=True, slots=True)
class FleetPlan:
    """What a burst from one source needs to know of its surroundings."""

    source: str
    """Name of the function or client."""
    namespace: str
    interface: str
    mac: str
    resolver_address: IPv4Address
    resolver_mac: str | None
    """None: by the gateway of the path."""
    paths: tuple[EniPath, ...]
    blocks: PortBlocks = field(default_factory=PortBlocks)
    own_ports: bool = False
    """Whether it is a host with ephemeral ports of its own, on each path an address; a function's environments have
    ports enough for whatever an ENI carries."""
    reserved_concurrency: int | None = None
    """How many of its invocations may be under way at the same time; None: no limit of its own."""
    descriptors: DescriptorLimit | None = None
    """How many each address of a client has for its program; None: no limit."""


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """A remote server as its clients know it."""

    name: str
    hostname: str
    addresses: tuple[IPv4Address, ...]
    """The addresses that the resolver answers for its name, sorted."""
    port: int

    @property
    def address(self) -> IPv4Address:
        """The first of them."""
        return self.addresses[0]


@dataclass(frozen=True, slots=True)
class Standing:
    """What a lab that is up keeps when it changes: the numbers given out, and until when removed Elastic IPs drain."""

    leases: dict[str, dict[str, int]] = field(default_factory=dict)
    """Pool → owner → number (`lab.plan.leases`)."""
    draining: dict[str, dict[int, int]] = field(default_factory=dict)
    """NAT gateway → number of an Elastic IP, from 1 → Unix time at which its last connections are cut."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that `up` makes, in order, and what the other verbs need to know about it."""

    lab: str
    objects: tuple[Annotated[KernelObject, Field(discriminator="kind")], ...]
    nodes: tuple[NodePlan, ...]
    limiters: tuple[Limiter, ...]
    fleets: tuple[FleetPlan, ...]
    servers: tuple[ServerPlan, ...]
    barriers: tuple[DropCounter, ...] = ()
    nat_nodes: tuple[NatNode, ...] = ()
    standing: Standing = field(default_factory=Standing)

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Names of all namespaces, in the order of their creation."""
        return tuple(item.name for item in self.objects if isinstance(item, Namespace))


def plan_to_json(plan: Plan) -> str:
    """The plan as one JSON document, each ruleset with its text; `plan_from_json` gives an equal plan back."""
    return json.dumps(_document(plan), indent=1)


def remains_from_json(text: str) -> Plan:
    """What has to be taken away of a plan that another version wrote: namespaces with all in them, files, settings."""
    known = TypeAdapter(tuple[Annotated[Namespace | File | ConntrackMax, Field(discriminator="kind")], ...])
    document = json.loads(text)
    kinds = ("namespace", "file", "conntrack_max")
    objects = known.validate_python([item for item in document["objects"] if item["kind"] in kinds])
    return Plan(document["lab"], objects, (), (), (), ())


def plan_from_json(text: str) -> Plan:
    """The plan that `plan_to_json` wrote; ValueError where another version did, with fewer fields or with others.

    What is missing is not given a default: a limiter without the mark of its slots is none whose slots can be told.
    """
    plan = _adapter().validate_json(text)
    if _document(plan) != json.loads(text):
        raise ValueError("the plan has fields that this version does not write, or lacks some")
    return plan


def _document(plan: Plan) -> dict[str, Any]:
    document: dict[str, Any] = _adapter().dump_python(plan, mode="json")
    for item, written in zip(plan.objects, document["objects"], strict=True):
        if isinstance(item, Ruleset):
            written["text"] = item.text
    return document


@cache
def _adapter() -> TypeAdapter[Plan]:
    """Made once: that takes 8 ms, and a command reads the plan several times."""
    return TypeAdapter(Plan)
