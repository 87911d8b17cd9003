"""`python -m tests.trust.neighbours TOPOLOGY`, in a new network namespace: a host that has addresses of the lab.

It has the server's address with a server of its own, and an interface in a private subnet. It writes how many
connections of a burst were established, how many of them came to its own server, and what its interfaces heard.
"""

from __future__ import annotations

import json
import os
import socket
import sys

from lab.lab import Lab
from tests.support.machine import ip
from tests.trust.host import burst_in

_CONNECTIONS = 40
_SERVER, _PORT, _IN_SUBNET = "203.0.113.10", 443, "10.0.1.7"


def main() -> None:
    """Be that host."""
    ip("link", "set", "lo", "up")
    ip("link", "add", "lan", "type", "veth", "peer", "name", "peer")
    for interface, address in (("lan", f"{_SERVER}/24"), ("peer", f"{_IN_SUBNET}/16")):
        ip("address", "add", address, "dev", interface)
        ip("link", "set", interface, "up")
    with socket.create_server((_SERVER, _PORT)) as server:
        server.settimeout(0)
        with Lab.up(sys.argv[1], name=f"neighbours-{os.getpid()}", scale=1000) as lab:
            burst = burst_in(lab, "", _CONNECTIONS, _CONNECTIONS)
        sys.stdout.write(json.dumps([burst.established, _accepted(server), burst.heard]))


def _accepted(server: socket.socket) -> int:
    accepted = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return accepted
        accepted += 1


if __name__ == "__main__":
    main()
