"""Real servers in a lab's nodes for tests, as docs/real-programs.md starts them; they end with the lab."""

from __future__ import annotations

from pathlib import Path
import sys
from typing import TYPE_CHECKING

from lab.kernel import preflight
from tests.support.command import run_lab
from tests.support.labs import eventually, inside
from tests.support.machine import require_machine

if TYPE_CHECKING:
    from lab.lab import Lab

__all__ = ["start_closing_server", "start_nginx", "start_redis"]

_CLOSING_SERVER = Path(__file__).with_name("closing_server.py")
_NGINX_CONF = Path(__file__).parents[2] / "docs" / "nginx.conf"


def start_nginx(lab: Lab, directory: Path) -> None:
    """Nginx in the node `web`, with all its files in the directory."""
    require_machine("nginx")
    _start(lab, "web", "nginx", "-p", directory, "-c", _NGINX_CONF)


def start_redis(lab: Lab, directory: Path) -> None:
    """redis-server in the node `cache`, with all its files in the directory."""
    _start(
        *(lab, "cache", _redis_server(directory)),
        *("--bind", "203.0.113.10", "--port", 6379, "--protected-mode", "no", "--tcp-backlog", 65_535),
        *("--save", "", "--appendonly", "no", "--dir", directory),
        *("--daemonize", "yes", "--pidfile", directory / "redis.pid", "--logfile", directory / "redis.log"),
    )
    assert eventually(lambda: ":6379" in inside(lab, "cache", "ss -lnt"))


def _redis_server(directory: Path) -> str:
    """The server, also where only the package redis-tools is installed, which starts no service.

    There it is called redis-check-rdb; it does what its name says (main() of Redis' server.c).
    """
    if preflight.find("redis-server") or not (twin := preflight.find("redis-check-rdb")):
        require_machine("redis-server")
        return "redis-server"
    link = directory / "redis-server"
    link.symlink_to(twin)
    return str(link)


def _start(lab: Lab, node: str, *command: object) -> None:
    """A program that goes to the background by itself."""
    started = run_lab("exec", "--lab", lab.name, node, "--", *command)
    assert started.status == 0, started.stderr


def start_closing_server(lab: Lab, server: str, way: str, keep: int = 0) -> None:
    """A server that ends connections in one way (`tests.support.closing_server`), on its topology's port."""
    known = next(each for each in lab.topology.servers if each.name == server)
    _start(lab, server, sys.executable, _CLOSING_SERVER, known.address, known.port, way, keep)
