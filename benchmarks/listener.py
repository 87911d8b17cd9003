"""What an idle connection costs the remote server: real clients, a veth, and the server's CPU time; medians in the end.

    sudo .venv/bin/python benchmarks/listener.py -n 57000 --clients 3 --runs 5

Each client is a process that connects without waiting, from an address of its own, and holds what it has. The server's
CPU time is that of all processes that share its port, their start included (proc(5), /proc/PID/schedstat).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv4Interface
import os
from pathlib import Path
import resource
import select
import socket
from statistics import median
import subprocess
import sys
import time
from typing import NamedTuple

from lab.kernel import processes
from lab.kernel.netns import Namespaces, NamespaceThread, remove
from lab.kernel.rtnl import add_address, add_veth, wait_until_up
from lab.kernel.sysctl import write_sysctl
from lab.plan.names import mac_address
from lab.plan.objects import Address, Port, Process, Sysctl, VethPair
from traffic.spec import ServerSpec

SERVER, CLIENTS = "bench-server", "bench-clients"
ADDRESS, PORT = IPv4Address("10.9.0.1"), 8080
PENDING = 500


class Run(NamedTuple):
    """One run."""

    connect_s: float
    """Until the last client had its last connection."""
    accept_s: float
    """Until the server had accepted all."""
    cpu_us: float
    """Of the server, per connection."""
    processes: int


def connect(source: str, connections: int) -> None:
    """A client: connect, say so, hold until the end of the input."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held: list[socket.socket] = []
    ready, pending = select.epoll(), 0
    while len(held) < connections or pending:
        while len(held) < connections and pending < PENDING:
            held.append(socket.socket())
            held[-1].setblocking(False)  # noqa: FBT003 -- positional only
            held[-1].setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT, ip(7)
            held[-1].bind((source, 0))
            held[-1].connect_ex((str(ADDRESS), PORT))
            ready.register(held[-1], select.EPOLLOUT | select.EPOLLONESHOT)
            pending += 1
        pending -= len(ready.poll(1, PENDING))
    print("connected", flush=True)
    sys.stdin.read()


def build(undo: ExitStack) -> Namespaces:
    """Two namespaces with a veth between them."""
    namespaces = undo.enter_context(Namespaces())
    for name in (SERVER, CLIENTS):
        namespaces.create(name)
        undo.callback(remove, name)
    undo.callback(processes.end, (SERVER, CLIENTS))
    near, far = (Port(name, "veth", mac_address(name, "veth")) for name in (SERVER, CLIENTS))
    add_veth(namespaces, VethPair(near, far))
    add_address(namespaces, Address(SERVER, "veth", IPv4Interface((ADDRESS, 16))))
    write_sysctl(namespaces, Sysctl(SERVER, "net.core.somaxconn", "65535"))
    write_sysctl(namespaces, Sysctl(CLIENTS, "net.ipv4.ip_local_port_range", "1024 65535"))
    wait_until_up(namespaces, (SERVER, CLIENTS))
    return namespaces


def serve(namespaces: Namespaces) -> None:
    """The server, ready."""
    spec = ServerSpec("veth", (ADDRESS,), PORT, "benchmark", "benchmark.example.com")
    process = Process(SERVER, "server", spec.to_json())
    processes.start(namespaces[SERVER], process, Path(os.devnull)).wait_ready()


def start_client(namespaces: Namespaces, number: int, connections: int) -> subprocess.Popen[str]:
    """A client with an address of its own."""
    source = f"10.9.1.{number + 1}"
    add_address(namespaces, Address(CLIENTS, "veth", IPv4Interface(f"{source}/16")))
    command = (sys.executable, __file__, "--connect", source, "-n", str(connections))
    return namespaces[CLIENTS].run(subprocess.Popen, command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def cpu_s() -> float:
    """CPU time of all that live with the server."""
    pids = [each.pid for each in processes.processes_in([SERVER])]
    return sum(int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[0]) for pid in pids) / 1e9


def waiting(inside: NamespaceThread) -> int:
    """Connections that are still to be accepted, ss(8)."""
    command = ("ss", "-Hltn", f"sport = :{PORT}")
    return int(inside.run(subprocess.check_output, command, text=True).split()[1])


def measure(connections: int, clients: int) -> Run:
    """One run in namespaces of its own."""
    with ExitStack() as undo:
        namespaces = build(undo)
        serve(namespaces)
        before, began = cpu_s(), time.monotonic()
        started = [start_client(namespaces, number, connections // clients) for number in range(clients)]
        for client in started:
            undo.enter_context(client)
            assert client.stdout is not None  # noqa: S101 -- for the type checker
            client.stdout.readline()
        connected = time.monotonic()
        while waiting(namespaces[SERVER]):
            time.sleep(0.01)
        accepted = time.monotonic()
        cost = (cpu_s() - before) / connections
        return Run(connected - began, accepted - began, cost * 1e6, len(processes.processes_in([SERVER])))


def summary(runs: Sequence[Run]) -> str:
    """The medians."""
    values = [median(column) for column in zip(*runs, strict=True)]
    return f"median of {len(runs)}: {describe(Run(values[0], values[1], values[2], int(values[3])))}"


def describe(run: Run) -> str:
    """One line."""
    return (
        f"connected after {run.connect_s:.2f} s, accepted after {run.accept_s:.2f} s, "
        f"{run.cpu_us:.1f} us of the server's CPU per connection, {run.processes} processes"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", dest="connections", type=int, required=True)
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--connect", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.connect:
        connect(wanted.connect, wanted.connections)
        return
    runs = []
    for _ in range(wanted.runs):
        runs.append(measure(wanted.connections, wanted.clients))
        print(describe(runs[-1]), flush=True)
    print(summary(runs))


if __name__ == "__main__":
    main()
