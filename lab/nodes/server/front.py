"""The limit of a server's connections, enforced before its port: by a router of its own that counts them.

A program counts what it has accepted; the lab's server is two, a stateless responder on a ring and real sockets in
several processes. What passes the front is counted for all of them, in one set, and before the ring sees it (an
AF_PACKET socket gets a frame before nftables does). UDP and other ports pass uncounted.

What a connection beyond the limit meets:

    close   its SYN goes to another port of the server, which accepts and sends a FIN at once. MySQL and PostgreSQL accept
            and close so, after an error message ("Too many connections", error 1040; "sorry, too many clients already",
            SQLSTATE 53300), which the lab leaves out
    reset   a RST for the SYN, as a firewall on the host sends it (iptables-extensions(8), `-m connlimit … -j REJECT
            --reject-with tcp-reset`); to the client it looks as if no program listened
    ignore  nothing, as a Linux host whose accept queue is full drops SYNs (listen(2); ip-sysctl.rst,
            tcp_abort_on_overflow)

A slot is taken by the SYN and free when the connection is closed, within the collection interval of its set.
"""

from __future__ import annotations

from collections.abc import Iterator

from lab.nodes import parts
from lab.plan.addressing import INTERNET_ROUTER
from lab.plan.layout import ServerLayout
from lab.plan.objects import NatNode, Ruleset
from lab.schema.limits import LONGEST_TIMEOUT_S
from lab.slots import nft
from lab.slots import ruleset as slots
from lab.topology import Server
from traffic.spec import ENGINE_DSCP

__all__ = ["plan", "turned_away_port"]

TABLE = "server"
_MARK, _TURNED_AWAY = 1, 2
"""Connection marks: has a slot; has none, and goes to the port where it is closed."""
_HALF_OPEN_S = 63
"""How long a Linux host keeps what has not completed its handshake (ip-sysctl.rst, tcp_synack_retries)."""


def plan(server: ServerLayout) -> Iterator[parts.Part]:
    """The parts of a server's front, if it has one."""
    limit = server.server.max_connections
    if server.front is None or limit is None:
        return
    slot_set = slots.SlotSet(
        name="connections",
        key=slots.SOURCE_ONLY,
        protocols=("tcp",),
        mark=_MARK,
        size=limit,
        idle_s=LONGEST_TIMEOUT_S,
        half_open_s=_HALF_OPEN_S,
        port_hold_s=0,
    )
    yield from parts.router(server.front)
    yield parts.veth(server.internet)
    yield from parts.through(server.internet, parts.ANYWHERE, INTERNET_ROUTER)
    yield from parts.host_behind(server.port, server.server.address)
    yield from parts.conntrack_sysctls(server.front, slot_set)
    yield Ruleset(server.front, _ruleset(server, slot_set))
    yield NatNode(
        server.node,
        "server",
        server.front,
        TABLE,
        inner=server.internet.near.interface,
        outer=server.port.far.interface,
        idle_timeout_s=LONGEST_TIMEOUT_S,
    )
    yield slots.limiter(
        slot_set,
        node=server.node,
        kind="server",
        namespace=server.front,
        table=TABLE,
        destination=server.server.name,
        when_full=server.server.refusal,
    )


def turned_away_port(server: Server) -> int | None:
    """The port at which connections without a slot are closed; None where there are none, or no server sees them."""
    if server.max_connections is None or server.refusal != "close":
        return None
    return 1 if server.port != 1 else 2


def _ruleset(server: ServerLayout, slot_set: slots.SlotSet) -> nft.Table:
    """All in prerouting: where a connection goes is decided there, by what it has been given.

    It counts connections to the server's port; everything else passes.
    """
    settings, name = server.server, slot_set.name
    refusals = {
        "close": f"ct mark set {_TURNED_AWAY:#x} accept",
        "reset": "reject with tcp reset",
        "ignore": "drop",
    }
    port = turned_away_port(settings)
    return nft.table(
        TABLE,
        *slots.definitions((slot_set,)),
        *slots.track_chains(slot_set),
        nft.chain("turned_away_track", "accept"),
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
            server.internet.near.interface,
            "ct state established accept",
            "meta l4proto != tcp accept",
            f"tcp dport != {settings.port} accept",
            without_slots=((_TURNED_AWAY, "turned_away"),),
            hook="prerouting priority mangle",
        ),
        *(
            ()
            if port is None
            else (
                nft.chain(
                    "turn_away",
                    f"meta l4proto tcp ct mark {_TURNED_AWAY:#x} dnat to {settings.address}:{port}",
                    hook="type nat hook prerouting priority dstnat; policy accept;",
                ),
            )
        ),
    )
