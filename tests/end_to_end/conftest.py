"""Real labs for tests: small topologies made on the spot, and real sockets in a fleet's namespace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lab.kernel.netns import Namespaces
from lab.lab import Lab
from tests.support.host import differences, network_of_host, settings_of_host
from tests.support.labs import Clients
from tests.support.machine import require_machine

if TYPE_CHECKING:
    from lab.pytest_plugin import LabUp

_numbers = count(1)

TOPOLOGIES = Path(__file__).parents[2] / "topologies"

_SMALL = """\
version: 1
name: small
hyperplane_eni: {{connection_limit: {eni}, {timeouts}}}
vpc:
  cidr: 10.0.0.0/16
  subnets:
    - {{name: public, cidr: 10.0.0.0/24}}
    - {{name: private, cidr: 10.0.1.0/24, default_route: natgw}}
  nat_gateways:
    - {{name: natgw, subnet: public, elastic_ips: {eips}, connections_per_destination: {nat}, {timeouts}{more}}}
functions:
  - {{name: checkout, subnets: [private]}}
servers:
  - {{name: cache, hostname: cache.example.com, address: 203.0.113.10, port: 443}}
  - {{name: store, hostname: store.example.com, address: 203.0.113.20, port: 8080}}
"""


@pytest.fixture(autouse=True, scope="session")
def _settings_stay() -> Iterator[None]:
    """No test changes a setting of the host's own network; looked at once, for that takes 40 ms of CPU."""
    before = settings_of_host("net")
    yield
    assert not differences(before, settings_of_host("net"))


@pytest.fixture(autouse=True)
def _host_stays(_host: list[dict[str, str]]) -> Iterator[None]:
    """No test changes the host's own links, addresses, routes, rules and nftables, whatever labs come and go."""
    yield
    before, _host[0] = _host[0], network_of_host()
    assert not differences(before, _host[0])


@pytest.fixture(scope="session")
def _host() -> list[dict[str, str]]:
    """The host's own network as the last test left it: looked at once for each test, which takes 12 ms of CPU."""
    return [network_of_host()]


@pytest.fixture(scope="session")
def topologies() -> Path:
    """The directory of the topologies that ship."""
    return TOPOLOGIES


@pytest.fixture
def small_file(tmp_path: Path) -> Callable[..., Path]:
    """A topology with one ENI, one NAT gateway and two servers, its limits and timeouts as the test wants them."""

    def write(*, eni: int = 20, nat: int = 20, eips: int = 1, more: str = "", timeouts: str = "port_hold: 0s") -> Path:
        path = tmp_path / "small.yaml"
        more = f", {more}" if more else ""
        path.write_text(_SMALL.format(eni=eni, nat=nat, eips=eips, more=more, timeouts=timeouts))
        return path

    return write


@pytest.fixture
def small(lab_up: LabUp, small_file: Callable[..., Path]) -> Callable[..., Lab]:
    """A lab of that topology."""

    def up(**wanted: Any) -> Lab:
        return lab_up(small_file(**wanted))

    return up


@pytest.fixture
def lab_name() -> Iterator[str]:
    """A name for a lab of which nothing is left after the test, however it was made."""
    require_machine()
    name = f"test-{os.getpid()}-n{next(_numbers)}"
    yield name
    for lab in Lab.all():
        if lab.name == name:
            lab.down()


@pytest.fixture
def clients() -> Iterator[Callable[[Lab], Clients]]:
    """Makes clients of a lab; what they opened is closed in the end."""
    made: list[Clients] = []
    with Namespaces() as namespaces:

        def of(lab: Lab) -> Clients:
            made.append(Clients(lab, namespaces))
            return made[-1]

        yield of
        for each in made:
            for opened in each.open:
                opened.close()
