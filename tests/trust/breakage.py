"""A lab of which something is deleted, set down, flushed or stopped: every command says so, and `lab down` works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
import os
from pathlib import Path
import re
import signal
import subprocess
from tempfile import TemporaryDirectory
import time

from lab.kernel.processes import arguments_of, running
from tests.support.command import Ended, run_lab, start_lab
from tests.support.labs import eventually
from tests.support.machine import ETC_NETNS, RUN_LAB, left_of
from tests.trust.promise import Effort, Outcome, Promise

__all__ = ["PROMISE"]

TOPOLOGY = Path(__file__).parents[2] / "topologies" / "tiny.yaml"
AT_ONCE = 2
"""Labs that are broken at the same time."""
SERVER, RESOLVER, NATGW, VPC, ENI = "srv-cache", "resolver", "natgw", "vpc", "eni-private-a"


@dataclass(frozen=True, slots=True)
class _Break:
    """One thing that a user may do to a lab."""

    what: str
    do: Callable[[str], None]
    told: str
    """What `lab status` then says: a regular expression."""
    noticed: bool = True
    """Whether a burst is refused for it; the lab can do without what it is not refused for."""


def _inside(node: str, *command: str) -> Callable[[str], None]:
    def do(lab: str) -> None:
        subprocess.run(["ip", "netns", "exec", f"lab-{lab}-{node}", *command], check=True, capture_output=True)

    return do


def _delete_namespace(node: str) -> Callable[[str], None]:
    def do(lab: str) -> None:
        subprocess.run(["ip", "netns", "del", f"lab-{lab}-{node}"], check=True)

    return do


def _signalled(node: str, number: signal.Signals) -> Callable[[str], None]:
    def do(lab: str) -> None:
        started = running([f"lab-{lab}-{node}"], arguments_of(""))
        for process in started:
            os.kill(process.pid, number)
        stopped = number is signal.SIGSTOP
        eventually(lambda: stopped or not running([f"lab-{lab}-{node}"], arguments_of("")))

    return do


def _removed(file: str) -> Callable[[str], None]:
    return lambda lab: (RUN_LAB / lab / file).unlink()


def _damaged(file: str) -> Callable[[str], None]:
    def do(lab: str) -> None:
        (RUN_LAB / lab / file).write_text("{]\n", encoding="utf-8")

    return do


def _without_resolv_conf(lab: str) -> None:
    (ETC_NETNS / f"lab-{lab}-{VPC}" / "resolv.conf").unlink()


BREAKS = (
    _Break("server killed", _signalled(SERVER, signal.SIGKILL), "the server process in"),
    _Break("table deleted", _inside(NATGW, "nft", "flush", "ruleset"), "table ip nat_gateway in"),
    _Break("server stopped", _signalled(SERVER, signal.SIGSTOP), r"the server process in .* \(stopped"),
    _Break("resolver killed", _signalled(RESOLVER, signal.SIGKILL), "the resolver process in"),
    _Break("namespace of the server deleted", _delete_namespace(SERVER), f"namespace .*{SERVER}"),
    _Break("namespace of the NAT gateway deleted", _delete_namespace(NATGW), f"namespace .*{NATGW}"),
    _Break("namespace of the function deleted", _delete_namespace("fn-checkout"), "namespace .*fn-checkout"),
    _Break("link deleted", _inside(VPC, "ip", "link", "del", NATGW), f"interface {NATGW} in .*{VPC}"),
    _Break("link set down", _inside(VPC, "ip", "link", "set", NATGW, "down"), r"interface natgw .*\(set down\)"),
    _Break("addresses flushed", _inside(ENI, "ip", "addr", "flush", "dev", "svc"), "address .* of svc"),
    _Break("routes flushed", _inside(NATGW, "ip", "route", "flush", "table", "main"), f"routes? .*{NATGW}"),
    _Break("neighbours deleted", _inside(VPC, "ip", "neigh", "flush", "all", "nud", "permanent"), "neighbour"),
    _Break("rules flushed", _inside(ENI, "nft", "flush", "table", "ip", "hyperplane_eni"), "parts of table"),
    _Break(
        "forwarding off", _inside(VPC, "sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward"), "net.ipv4.ip_forward=1"
    ),
    _Break("resolv.conf removed", _without_resolv_conf, "file /etc/netns/"),
    *(_Break(f"{file} damaged", _damaged(file), "", noticed=False) for file in ("plan.json", "topology.json")),
    *(_Break(f"{file} removed", _removed(file), "", noticed=False) for file in ("plan.json", "phase", "identity")),
)

_CONNECTIONS = 4
_BURST = ("burst", "-n", str(_CONNECTIONS), "--connect-timeout", "1", "--no-record")

VERBS: dict[str, tuple[str, ...]] = {
    "list": ("list",),
    "burst": _BURST,
    "burst --anyway": (*_BURST, "--anyway"),
    "why": ("why",),
    "why --connection": ("why", "--connection", "100.65.0.0:536"),
    "metrics": ("metrics",),
    "capture": ("capture", "--seconds", "0.2", "-w", "/dev/null"),
    "impair": ("impair", NATGW, "--rate", "100mbit"),
    "graph": ("graph",),
    "reset": ("reset",),
    "watch": ("watch",),
    "up": ("up", str(TOPOLOGY)),
    "up --repair": ("up", str(TOPOLOGY), "--repair"),
}
SOME_VERBS = ("burst", "up")
"""Those of the short form."""
_NAMED = {"up": "--name", "up --repair": "--name"}
_WITHOUT_NAME = ("list",)
_BARE = re.compile(r"Traceback|\[Errno|Error:|error: \(|NetlinkError|KeyError")
_WRONG_CAUSE = re.compile(r"(?<!no )limit reached:|port exhaustion|associate an Elastic IP", re.IGNORECASE)
_WAY_OUT = re.compile(r"lab (down|up|list)\b|--anyway")
_STATUSES = range(5)
_WATCHES_S = 20


def _check(effort: Effort) -> Outcome:
    breaks = BREAKS[:2] if effort is Effort.SHORT else BREAKS
    verbs = {name: VERBS[name] for name in SOME_VERBS} if effort is Effort.SHORT else VERBS
    with TemporaryDirectory() as records, ThreadPoolExecutor(AT_ONCE) as several:
        tried = several.map(lambda number: _tried(number, breaks[number], verbs, records), range(len(breaks)))
        failures = [failure for each in tried for failure in each]
    return Outcome(len(breaks) * (len(verbs) + 2), "broken parts and commands", tuple(failures))


def _tried(number: int, broken: _Break, verbs: dict[str, tuple[str, ...]], home: str) -> list[str]:
    """Break a lab, and give it every command; what was not as promised."""
    name = f"breakage-{os.getpid()}-{number}"
    made = run_lab("up", TOPOLOGY, "--name", name)
    try:
        if made.status:
            return [f"lab up: {made.stderr}"]
        broken.do(name)
        failures = [*_status(name, broken)]
        for verb, words in verbs.items():
            failures += [f"{broken.what}, lab {verb}: {fault}" for fault in _faults(name, broken, verb, words, home)]
    except subprocess.TimeoutExpired as late:
        failures = [f"{broken.what}: {late}"]
    finally:
        down = run_lab("down", "--lab", name)
    if down.status or _BARE.search(down.stderr):
        failures.append(f"{broken.what}, lab down: status {down.status}: {down.stderr}")
    if left := left_of(name):
        failures.append(f"{broken.what}, lab down left {', '.join(left)}")
    return failures


def _status(name: str, broken: _Break) -> Iterator[str]:
    said = run_lab("status", "--lab", name)
    if _BARE.search(said.stderr) or said.status not in _STATUSES:
        yield f"{broken.what}, lab status: status {said.status}: {said.stderr}"
    elif not re.search(broken.told, said.stderr):
        yield f"{broken.what}, lab status does not say {broken.told!r}: {said.stderr}"


def _faults(name: str, broken: _Break, verb: str, words: tuple[str, ...], home: str) -> Iterator[str]:
    named = () if verb in _WITHOUT_NAME else (_NAMED.get(verb, "--lab"), name)
    try:
        said = _watched(*named) if verb == "watch" else run_lab(*words, *named, HOME=home)
    except subprocess.TimeoutExpired:
        yield "it did not end"
        return
    text = said.stdout + said.stderr
    if said.status not in _STATUSES:
        yield f"ended with status {said.status}: {said.stderr}"
    if found := _BARE.search(text):
        yield f"said {found[0]!r}: {said.stderr[-500:]}"
    if found := _WRONG_CAUSE.search(text):
        yield f"blamed a limit: {found[0]}"
    if said.status and not _WAY_OUT.search(said.stderr):
        yield f"said no way out: {said.stderr}"
    if broken.noticed and verb in ("burst", "up") and (said.status == 0 or not re.search(broken.told, said.stderr)):
        yield f"did not say what is lost: status {said.status}: {said.stderr}"
    if broken.noticed and verb == "burst --anyway" and "has lost" not in text:
        yield f"does not lead with what is lost: {text}"
    if broken.noticed and verb == "up --repair":
        yield from _not_mended(name, said)


def _not_mended(name: str, said: Ended) -> Iterator[str]:
    """What `lab status` still misses, and a burst that is not established, after a lab was mended."""
    if said.status or "mended: " not in said.stderr:
        yield f"mended nothing: status {said.status}: {said.stderr}"
    elif lost := run_lab("status", "--lab", name).stderr:
        yield f"left something broken: {lost}"
    else:
        burst = run_lab(*_BURST, "--lab", name, "--json", "-")
        if burst.status or burst.json["tcp"]["established"] != _CONNECTIONS:
            yield f"afterwards a burst ended with status {burst.status}: {burst.stdout[-300:]}{burst.stderr}"


def _watched(*named: str) -> Ended:
    """`lab watch` for some lines, ended as with Ctrl-C."""
    with start_lab("watch", *named, "--interval", "0.1") as watch:
        assert watch.stdout is not None
        watch.stdout.readline()
        time.sleep(0.2)
        if watch.poll() is None:
            os.killpg(watch.pid, signal.SIGINT)
        out, said = watch.communicate(timeout=_WATCHES_S)
        return Ended(watch.returncode, out, said)


PROMISE = Promise(
    name="breakage",
    text="Whatever is deleted, flushed, set down or stopped of a lab: `lab status` names it, every other command works "
    "or says so in a sentence with the way out, no limit is blamed for it, and `lab down` takes all of the lab away.",
    method="Parts of a lab are broken one at a time (namespaces, links, addresses, routes, tables, rules, settings, "
    "processes killed or stopped, files of the record), and each lab is given every command as a process of its own. "
    "A traceback, a bare system error, a refusal without a way out, a wrong cause, or anything left after `lab down` "
    "is counted.",
    check=_check,
)
