"""The limit of a server's connections, enforced before its port: by a router of its own that counts them.

A program counts what it has accepted; the lab's server is two, a stateless responder on a ring and real sockets in
several processes. What passes the front is counted for all of them, in one set, and before the ring sees it (an
AF_PACKET socket gets a frame before nftables does). UDP and other ports pass untracked.

What a connection beyond the limit meets:

    close   its SYN goes to another address of the server, which accepts and sends a FIN at once. MySQL and PostgreSQL
            accept and close so, after an error message ("Too many connections", ERROR 1040; "sorry, too many clients
            already", SQLSTATE 53300), which the lab leaves out
    reset   a RST for the SYN, as a firewall on the host sends it (iptables-extensions(8), `-m connlimit … -j REJECT
            --reject-with tcp-reset`); to the client it looks as if no program listened
    ignore  nothing, as a Linux host whose accept queue is full drops SYNs (listen(2); ip-sysctl.rst,
            tcp_abort_on_overflow)

A slot is taken by the SYN and free when the connection is closed, within the collection interval of its set.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes import parts
from lab.nodes.server_front import KIND
from lab.plan.layout import Layout, ServerLayout
from lab.plan.objects import NatNode, NodePlan, Ruleset
from lab.schema.limits import LONGEST_TIMEOUT_S
from lab.schema.names import front_of_server
from lab.slots import nft
from lab.slots import ruleset as slots
from traffic.spec import ENGINE_DSCP

__all__ = ["TABLE", "plan"]

TABLE = "server"
_MARK, _TURNED_AWAY = 1, 2
"""Connection marks: has a slot; has none, and goes to the address where it is closed."""
_HALF_OPEN_S = 63
"""How long a Linux host keeps what has not completed its handshake (ip-sysctl.rst, tcp_synack_retries)."""


def plan(layout: Layout) -> Iterator[parts.Part]:
    """The parts of all fronts."""
    for server in layout.servers:
        limit = server.server.max_connections
        if server.front is not None and limit is not None:
            yield from _front(server, server.front, limit)


def _front(server: ServerLayout, namespace: str, limit: int) -> Iterator[parts.Part]:
    slot_set = slots.SlotSet(
        name="connections",
        # A NAT gateway gives connections to different addresses one source port.
        key=slots.SOURCE_ONLY if len(server.server.addresses) == 1 else slots.WHOLE_TUPLE,
        protocols=("tcp",),
        mark=_MARK,
        size=limit,
        idle_s=LONGEST_TIMEOUT_S,
        half_open_s=_HALF_OPEN_S,
        port_hold_s=0,
    )
    inner, outer = server.uplink.near, server.port.far
    yield from parts.router(namespace)
    yield parts.veth(server.uplink)
    yield from parts.through(server.uplink, parts.ANYWHERE, server.next_hop)
    for address in server.addresses:
        yield from parts.host_behind(server.port, address)
    yield from parts.conntrack_sysctls(namespace, slot_set)
    yield Ruleset(namespace, _ruleset(server, slot_set))
    yield NodePlan(front_of_server(server.server.name), KIND.name, namespace, ())
    yield NatNode(server.node, "server", namespace, TABLE, inner.interface, outer.interface, LONGEST_TIMEOUT_S)
    yield slots.limiter(
        slot_set,
        node=server.node,
        kind="server",
        namespace=namespace,
        table=TABLE,
        destination=server.server.name,
        when_full=server.server.refusal,
    )


def _ruleset(server: ServerLayout, slot_set: slots.SlotSet) -> nft.Table:
    """All in prerouting: the address to which a connection goes is decided there, by whether it has a slot."""
    settings, name = server.server, slot_set.name
    inner, outer = server.uplink.near.interface, server.port.far.interface
    refusals = {
        "close": f"ct mark set {_TURNED_AWAY:#x} accept",
        "reset": "reject with tcp reset",
        "ignore": "drop",
    }
    return nft.table(
        TABLE,
        nft.chain(
            "uncounted",
            "meta l4proto != tcp notrack accept",
            f'iifname "{inner}" tcp dport != {settings.port} notrack',
            f'iifname "{outer}" tcp sport != {settings.port} notrack',
            hook="type filter hook prerouting priority raw; policy accept;",
        ),
        *slots.definitions((slot_set,)),
        *slots.track_chains(slot_set),
        *slots.track_chains_without_slots("turned_away"),
        slots.refusal_chain(name, refusals[settings.refusal]),
        nft.chain(
            "admit",
            *slot_set.admit(),
            # A RST gets its DSCP by the mark of the SYN that it answers.
            *([f"ip dscp {ENGINE_DSCP} meta mark set {ENGINE_DSCP}"] if settings.refusal == "reset" else []),
            f"goto refuse_{name}",
        ),
        *slots.forward_chains(
            (slot_set,),
            inner,
            "ct state untracked accept",
            without_slots=((_TURNED_AWAY, "turned_away"),),
            hook="prerouting priority mangle",
        ),
        *(
            ()
            if not server.turned_away
            else (
                nft.chain(
                    "turn_away",
                    f"meta l4proto tcp ct mark {_TURNED_AWAY:#x} dnat to {_second_address(server)}",
                    hook="type nat hook prerouting priority dstnat; policy accept;",
                ),
            )
        ),
    )


def _second_address(server: ServerLayout) -> str:
    """Where connections to an address are turned away: one for each, since two may have one source address and port."""
    if len(server.turned_away) == 1:
        return str(server.turned_away[0])
    pairs = zip(server.server.addresses, server.turned_away, strict=True)
    return f"ip daddr map {{ {', '.join(f'{address} : {second}' for address, second in pairs)} }}"
