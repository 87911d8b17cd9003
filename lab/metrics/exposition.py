"""The same numbers for Prometheus: counters and gauges as they are now, from a sample at each scrape.

Periods are Prometheus's own affair: `increase(…[1m])` comes near CloudWatch's Sum, `max_over_time(…[1m])` its
Maximum, and a peak is `max_over_time(rate(…[10s])[1m:10s])`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
import re
from socketserver import ThreadingMixIn
import sys
from threading import BoundedSemaphore, Lock, Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from lab.metrics.folding import began_anew
from lab.metrics.numbers import COUNTS, LEVELS
from lab.metrics.table import METRICS, NOT_REPORTED, Metric
from lab.observe.samples import NodeSample, Sample
from lab.sandbox.outside import listen
from lab.slots.counters import NatNode
from lab.slots.limiter import Limiter

__all__ = ["Observation", "Serving", "serve"]

_ADDRESS = "127.0.0.1"

_MOST_CONNECTIONS = 16
"""At a time, each with a thread; whoever comes beyond them is closed at once."""

_NO_VERSION = re.compile(r"version=(?!\d{1,9}(\.\d{1,9})*\s*([;,]|$))", re.ASCII)
"""Of a format in an `Accept` header: a version that is not of numbers."""

_NAMES = {
    "ActiveConnectionCount": "active_connections",
    "ConnectionAttemptCount": "connection_attempts",
    "ConnectionEstablishedCount": "connections_established",
    "ErrorPortAllocation": "port_allocation_errors",
    "IdleTimeoutCount": "idle_timeouts",
    "PacketsDropCount": "dropped_packets",
    "BytesInFromSource": "in_from_source_bytes",
    "BytesOutToDestination": "out_to_destination_bytes",
    "BytesInFromDestination": "in_from_destination_bytes",
    "BytesOutToSource": "out_to_source_bytes",
    "PacketsInFromSource": "in_from_source_packets",
    "PacketsOutToDestination": "out_to_destination_packets",
    "PacketsInFromDestination": "in_from_destination_packets",
    "PacketsOutToSource": "out_to_source_packets",
    "Connections": "connections",
    "ConnectionsRefused": "refused_connections",
    "PacketsRefused": "refused_packets",
    "Headroom": "free_slots",
}
"""CloudWatch's name → Prometheus's, after `lab_nat_gateway_` or `lab_hyperplane_eni_`, before `_total`."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The nodes and limiters of a lab, and a sample of them."""

    lab: str
    nodes: Sequence[NatNode]
    limiters: Sequence[Limiter]
    sample: Sample


class Serving:
    """An endpoint that answers scrapes until it is closed."""

    def __init__(self, observe: Callable[[], Observation | None], port: int) -> None:
        registry = CollectorRegistry()
        registry.register(_Collector(observe))
        self._server = make_server(_ADDRESS, port, make_wsgi_app(registry), _Server, _Handler)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://{_ADDRESS}:{self._server.server_port}/metrics"

    def close(self) -> None:
        """Stop answering, and close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(WSGIRequestHandler):
    """One scrape; a client that neither reads nor writes is given up."""

    timeout = 5.0  # seconds, of each read and write

    def get_environ(self) -> dict[str, Any]:
        """The request without formats whose version is no number, on which prometheus_client raises."""
        environ: dict[str, Any] = super().get_environ()
        if _NO_VERSION.search(environ.get("HTTP_ACCEPT", "")):
            del environ["HTTP_ACCEPT"]
        return environ

    def log_message(self, *_: Any) -> None:
        """Log nothing: a scrape every few seconds is no news."""


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each connection, of which there is a bound."""

    daemon_threads = True

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._room = BoundedSemaphore(_MOST_CONNECTIONS)
        super().__init__(*arguments, **named)

    def server_bind(self) -> None:
        """Listen in the user's own network, also for a command in a sandbox."""
        self.socket.close()
        self.socket = listen(*self.server_address)
        self.server_name, self.server_port = self.server_address = self.socket.getsockname()
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin its thread, or close the connection where there are too many."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, in the thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that resets the connection or falls silent."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


def serve(observe: Callable[[], Observation | None], port: int) -> Serving:
    """Answer scrapes on the loopback address, from threads of its own; port 0 is any. OSError when it is in use.

    `observe` is called at each scrape, never twice at a time; None is when there is nothing to tell of any more.
    """
    return Serving(observe, port)


class _Collector(Collector):
    """A prometheus_client collector that takes a sample at each scrape."""

    def __init__(self, observe: Callable[[], Observation | None]) -> None:
        self._observe, self._one_at_a_time = observe, Lock()
        self._before: dict[str, NodeSample] = {}
        self._most: dict[tuple[str, str], float] = {}
        """Node and metric → what was told of it. To Prometheus a counter that falls by one has begun anew at 0."""

    def describe(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        """The families without values, by which a registry finds names that come twice."""
        return [_family(metric) for metric in METRICS if metric.name in _NAMES]

    def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        """The families with values; a lock lets one scrape at a time take a sample."""
        with self._one_at_a_time:
            return list(self._families())

    def _families(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        seen = self._observe()
        if seen is None:
            return
        self._forget_what_began_anew(seen.sample.nodes)
        for metric in METRICS:
            if metric.name in _NAMES:
                family = _family(metric)
                for node, value in _values(metric, seen):
                    family.add_metric([seen.lab, node], self._grown(metric, node, value))
                yield family

    def _forget_what_began_anew(self, readings: Mapping[str, NodeSample]) -> None:
        anew = {node for node, now in readings.items() if began_anew(self._before.get(node, now), now)}
        self._most = {(node, name): most for (node, name), most in self._most.items() if node not in anew}
        self._before = dict(readings)

    def _grown(self, metric: Metric, node: str, value: float) -> float:
        """A level as it is; of a count the most so far, for what several counters make may be short for a moment."""
        if metric.name not in COUNTS:
            return value
        most = max(value, self._most.get((node, metric.name), 0))
        self._most[node, metric.name] = most
        return most


def _family(metric: Metric) -> CounterMetricFamily | GaugeMetricFamily:
    family = CounterMetricFamily if metric.name in COUNTS else GaugeMetricFamily
    whose = f"CloudWatch's {metric.name}" if metric.reported else f"{metric.name}, {NOT_REPORTED}"
    return family(f"lab_{metric.kind}_{_NAMES[metric.name]}", f"{whose}: {metric.meaning}.", labels=["lab", "node"])


def _values(metric: Metric, seen: Observation) -> Iterator[tuple[str, float]]:
    for node in seen.nodes:
        reading = seen.sample.nodes.get(node.node)
        if node.kind != metric.kind or reading is None:
            continue
        if metric.name in COUNTS:
            yield node.node, float(COUNTS[metric.name](reading))
        else:
            limiters = [limiter for limiter in seen.limiters if limiter.place == node.node]
            yield node.node, float(LEVELS[metric.name](reading, limiters))
