"""One `lab invoke`: users and routes for the environments, the process that runs them, the kernel's account, undone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address
import json
import os
from pathlib import Path

import msgspec

from lab.burst.observing import Observing
from lab.capacity.predict import choose
from lab.errors import KernelError, UsageError
from lab.invoke.asked import Invocations
from lab.invoke.code import handler_of
from lab.invoke.environments import environments_of, routes_of
from lab.invoke.result import Connections, EnvironmentConnections, InvokeResult
from lab.kernel.connections_of_users import Opened, counting
from lab.kernel.generator import Generator, generator
from lab.kernel.netns import Namespaces
from lab.kernel.routes_of_users import add_routes, remove_routes
from lab.kernel.sockets import Socket, sockets
from lab.kernel.state import Record
from lab.kernel.users import reserved_users
from lab.observe.samples import Sample
from lab.plan.objects import Plan
from traffic.environments.result import InvokeResult as Outcomes
from traffic.environments.spec import Environment, InvokeSpec, Isolation

__all__ = ["Listeners", "Progress", "WatchedInvocations", "invoke"]

_LARGEST_EVENT = 6 << 20
"""Bytes of a payload (lambda/latest/dg/gettingstarted-limits.html)."""
_HIDDEN = ("/run/lab",)


def _ignore(_: object) -> None:
    """The listener of a caller that gave none."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The counts so far."""

    t_s: float
    done: int
    """Invocations that have their outcome."""
    ok: int
    in_flight: int
    alive: int
    """Execution environments."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Functions that are called while invocations go on."""

    progress: Callable[[Progress], None] = _ignore
    """Called several times a second with the counts so far."""
    sampled: Callable[[Sample], None] | None = None
    """Called several times a second with what NAT nodes count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedInvocations(Invocations):
    """The arguments of `Lab.invoke`: invocations, and the function that is called while they go on."""

    progress: Callable[[Progress], None] = _ignore


def invoke(record: Record, plan: Plan, asked: Invocations, listeners: Listeners) -> InvokeResult:
    """Run them; all environments have ended when this returns or raises."""
    handler, event = handler_of(asked), _event(asked.event)
    name = choose((fleet.source for fleet in plan.fleets), asked.function, "function")
    fleet = next(fleet for fleet in plan.fleets if fleet.source == name)
    with ExitStack() as undo:
        namespaces = undo.enter_context(Namespaces())
        inside = namespaces[fleet.namespace]
        users = undo.enter_context(reserved_users(record.path.parent))
        environments = environments_of(fleet, users, asked.environments)
        routes = tuple(routes_of(plan, fleet, environments))
        undo.callback(remove_routes, inside, routes)
        remove_routes(inside, routes)  # what a command that was killed has left
        add_routes(inside, routes)
        counts = undo.enter_context(counting(inside, range(1) if users is None else users))
        observing = Observing(namespaces, plan, record, listeners.sampled)
        spec = InvokeSpec(
            function=name,
            handler=handler,
            isolation=Isolation(fleet.namespace, _HIDDEN),
            environments=environments,
            invocations=asked.invocations,
            event=event,
            arrivals=asked.arrivals,
            growth=asked.growth,
            reserved_concurrency=fleet.reserved_concurrency,
            freeze=asked.freeze,
            concurrency=asked.concurrency_per_environment,
        )
        with generator(inside, "invoke", spec.to_json(), record.logs / f"invoke-{os.getpid()}.log") as running:
            outcomes = _outcomes(running, observing, listeners)
            seen = observing.seen()
            opened, held = counts.read(), Counter(each.local[0] for each in inside.run(_established))
            running.tell("close")
        return InvokeResult(
            lab=plan.lab,
            function=name,
            handler=asked.handler,
            code=handler.directory,
            asked_environments=asked.environments,
            freeze=asked.freeze,
            outcomes=outcomes,
            connections=_connections(environments, outcomes, opened, held),
            kernel=seen,
        )


def _event(file: str | None) -> str:
    """The payload; UsageError for one that is no JSON, or too large for Lambda."""
    if file is None:
        return "{}"
    try:
        text = Path(file).read_text(encoding="utf-8")
        json.loads(text)
    except OSError as error:
        raise UsageError(f"--event {file}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"--event {file}: is not JSON: {error}") from None
    if len(text.encode()) > _LARGEST_EVENT:
        raise UsageError(f"--event {file}: {len(text.encode()):,} bytes; Lambda takes {_LARGEST_EVENT:,} at most")
    return text


@dataclass(frozen=True, slots=True)
class _Failed:
    message: str


def _event_of(line: str) -> Progress | Outcomes | _Failed:
    event = json.loads(line)
    match event["event"]:
        case "progress":
            return msgspec.convert(event, Progress)
        case "finished":
            return msgspec.convert(event["result"], Outcomes)
        case "error":
            return _Failed(event["message"])
        case other:
            raise ValueError(f"unknown event {other!r} of the process that runs execution environments")


def _outcomes(running: Generator, observing: Observing, listeners: Listeners) -> Outcomes:
    """Wait until every invocation has its outcome."""
    for event in running.events(_event_of):
        observing.look()
        match event:
            case Progress():
                listeners.progress(event)
            case Outcomes():
                return event
            case _Failed():
                raise KernelError(event.message)
    raise KernelError("the process that runs execution environments ended before all invocations had an outcome")


def _established() -> list[Socket]:
    return [each for each in sockets() if each.state == "ESTABLISHED"]


def _connections(
    environments: tuple[Environment, ...],
    outcomes: Outcomes,
    opened: dict[IPv4Address, Opened],
    held: Counter[IPv4Address],
) -> Connections:
    """The kernel's account, of each environment that was made."""
    apart = environments[0].address is not None
    rows = tuple(
        EnvironmentConnections(
            number=used.number,
            eni=environments[used.number].eni,
            address=str(address) if address else None,
            invocations=used.invocations,
            opened=(seen := opened.get(address, Opened()) if address else Opened()).connections,
            syns_again=seen.syns_again,
            questions=seen.questions,
            held=held[address] if address else 0,
        )
        for used in outcomes.environments
        for address in (environments[used.number].address,)
    )
    total = sum(each.connections for each in opened.values())
    begun = sum(row.invocations for row in rows)
    return Connections(
        opened=total,
        syns_again=sum(each.syns_again for each in opened.values()),
        questions=sum(each.questions for each in opened.values()),
        held=sum(row.held for row in rows),
        per_invocation=round(total / begun, 4) if begun else 0.0,
        environments=rows,
        apart=apart,
    )
