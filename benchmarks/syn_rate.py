"""SYNs a second: the packet engine's `--syn-only` against trafgen (netsniff-ng), in turns, on the same link.

    sudo apt-get install netsniff-ng
    sudo .venv/bin/python benchmarks/syn_rate.py -n 1000000 --runs 5

The link is a veth pair between two throwaway namespaces; nobody lives at the far end, so what is measured is the sender
and the link, not a path. Both send frames of one template from a TX ring, trafgen with one process, ports at random.
"""

from __future__ import annotations

import argparse
from ipaddress import IPv4Address
import json
import re
from statistics import median
import subprocess
import tempfile

from lab.kernel.netns import Namespaces
from lab.kernel.processes import command, environment
from lab.kernel.rtnl import add_veth
from lab.plan.objects import Port, VethPair
from traffic.spec import BurstSpec, EniPath, FleetSpec

NEAR, FAR = (Port(f"syn-rate-{end}", "eth0", f"02:00:00:00:00:0{end}") for end in (1, 2))
SERVER = IPv4Address("203.0.113.10")
_INSIDE = ("ip", "netns", "exec", NEAR.namespace)

TEMPLATE = f"""{{
  eth(da={FAR.mac}, sa={NEAR.mac}),
  ipv4(saddr=100.65.0.1, daddr={SERVER}, tos=0x5c, ttl=64, df, id=1),
  tcp(sport=drnd(), dport=443, seq=drnd(), win=65535, syn)
}}
"""


def trafgen(frames: int) -> float:
    """SYNs per second by trafgen's own clock."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".cfg") as template:
        template.write(TEMPLATE)
        template.flush()
        words = ("trafgen", "--dev", "eth0", "--conf", template.name, "--cpus", "1", "--num", str(frames))
        said = subprocess.run((*_INSIDE, *words), capture_output=True, text=True, check=True).stdout
    seconds, microseconds = re.findall(r"(\d+) sec, (\d+) usec on CPU", said)[0]
    return frames / (int(seconds) + int(microseconds) / 1e6)


def packet_engine(frames: int) -> float:
    """SYNs per second, from the first one to the last."""
    spec = BurstSpec(
        fleets=(FleetSpec("eth0", NEAR.mac, (EniPath("nobody", FAR.mac, IPv4Address("100.65.0.0"), 65_536),)),),
        resolver_address=SERVER,
        resolver_mac=FAR.mac,
        hostname="cache.example.com",
        port=443,
        connections=frames,
        connect_timeout_s=0.9,
        destinations=(SERVER,),
    )
    words = (*_INSIDE, *command("burst", spec.to_json(), NEAR.namespace))
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()) as burst:
        events = (json.loads(line) for line in burst.stdout or ())
        timing = next(each["result"]["timing"] for each in events if each["event"] == "connected")
        burst.communicate()  # the end of its standard input is the order to end
    return float(timing["invocations_per_s"])


def main() -> None:
    """Parse, measure in turns, print medians and the ratio of each pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", dest="frames", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    with Namespaces() as namespaces:
        try:
            for port in (NEAR, FAR):
                namespaces.create(port.namespace)
            add_veth(namespaces, VethPair(NEAR, FAR))
            pairs = [(packet_engine(given.frames), trafgen(given.frames)) for _ in range(given.runs)]
        finally:
            for port in (NEAR, FAR):
                namespaces.delete(port.namespace)
    for ours, theirs in pairs:
        print(f"packet engine {ours:>9,.0f}/s   trafgen {theirs:>9,.0f}/s   ratio {ours / theirs:.2f}")
    print(f"median ratio of {len(pairs)}: {median(ours / theirs for ours, theirs in pairs):.2f}")


if __name__ == "__main__":
    main()
