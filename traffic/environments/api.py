"""The Runtime API: HTTP/1.1 between the runtime client of each environment and the dispatcher.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html describes it. What a refusal says, and the largest
answer, are those of AWS's Runtime Interface Emulator (github.com/aws/aws-lambda-runtime-interface-emulator,
internal/lambda/rapi/rendering and internal/lambda/interop).

An environment is told by the address of the loopback network that it connects to. Whatever it sends is bounded:
headers, bodies, requests that are not answered yet, connections.
"""

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
import json
import os
import re
import socket
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol
from uuid import uuid4

import h11

from traffic.environments.result import EXAMPLE_BYTES, Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LARGEST_ANSWER_BYTES", "Functions", "RuntimeApi", "address_of", "listen"]

LARGEST_ANSWER_BYTES = 6 * 1_024 * 1_024 + 100
_LARGEST_STREAM_BYTES = 200 << 20
"""Of a streamed response (docs.aws.amazon.com/lambda/latest/dg/configuration-response-streaming.html)."""
_READ_BYTES = _LARGEST_STREAM_BYTES + (1 << 20)
"""Of a body; a connection on which more comes is closed without an answer."""
_HEADER_BYTES = 2 << 20
"""An error report has its X-Ray cause in a header, of up to 1 MiB."""
_ERROR_BYTES = 256 << 10
"""How much of an error report is read as JSON."""
_AHEAD_BYTES = 64 << 10
"""What a client may send while its request for an invocation waits."""
_CONNECTIONS = 64
"""Of an environment at a time."""

_FIRST_PORT, _LAST_PORT = 9_001, 9_099
_BACKLOG = 4_096
"""Hundreds of environments connect at once."""
_PER_OCTET = 250

_PREFIX = "/2018-06-01/runtime/"
_ANSWER = re.compile(r"invocation/([^/]{1,64})/(response|error)")
_JSON = (b"Content-Type", b"application/json")


def address_of(number: int) -> str:
    """The address at which an environment finds the Runtime API, from 127.1.0.1 on."""
    return f"127.1.{number // _PER_OCTET}.{number % _PER_OCTET + 1}"


def _number_of(address: str) -> int:
    """The environment that an address stands for; -1: none."""
    _, second, third, fourth = map(int, address.split("."))
    return third * _PER_OCTET + fourth - 1 if second == 1 and 1 <= fourth <= _PER_OCTET else -1


def listen() -> socket.socket:
    """A socket for connections to all addresses of the loopback interface; OSError if each of the ports is taken."""
    for port in range(_FIRST_PORT, _LAST_PORT + 1):
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("", port))
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            if port == _LAST_PORT:
                raise
        else:
            break
    return listener


class Functions(Protocol):
    """What the API tells, of the environment with this number; False: the environment may not do that now."""

    def asks(self, number: int) -> bool:
        """It asks for its next invocation."""

    def leaves(self, number: int) -> None:
        """Its connection, on which it asked, was closed."""

    def answers(self, number: int, invocation: int, failure: Failure | None, body: bytes) -> bool:
        """It answers an invocation; the first bytes of the answer."""

    def init_fails(self, number: int, failure: Failure) -> bool:
        """It cannot start."""


class _Refusal(NamedTuple):
    """An answer that is an error of the client's."""

    status: HTTPStatus
    type: str
    message: str


_WRONG_ID = _Refusal(HTTPStatus.BAD_REQUEST, "InvalidRequestID", "Invalid request ID")
_NOT_FOUND = _Refusal(HTTPStatus.NOT_FOUND, "NotFound", "The Runtime API has no such path")
_WRONG_METHOD = _Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowed", "The path takes another method")
_TOO_LARGE = _Refusal(
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "RequestEntityTooLarge",
    f"Exceeded maximum allowed payload size ({LARGEST_ANSWER_BYTES} bytes).",
)


def _not_now(what: str) -> _Refusal:
    message = f"State transition to {what} failed for runtime. Error: State transition is not allowed"
    return _Refusal(HTTPStatus.FORBIDDEN, "InvalidStateTransition", message)


class RuntimeApi:
    """All connections of the environments of one spec."""

    def __init__(self, functions: Functions, environments: int, function: str, event: bytes) -> None:
        self.functions = functions
        self.environments = environments
        self.waiting: list[deque[_Connection]] = [deque() for _ in range(environments)]
        self.under_way: list[dict[str, int]] = [{} for _ in range(environments)]
        """Of each environment, request ID → invocation."""
        self.answered: list[str] = [""] * environments
        """The last request ID that each has answered."""
        self.connections: list[set[_Connection]] = [set() for _ in range(environments)]
        self._arn = f"arn:aws:lambda:us-east-1:123456789012:function:{function}".encode()
        self._event = event
        self._length = str(len(event)).encode()

    async def serve(self, listener: socket.socket) -> asyncio.Server:
        """Accept connections from now on."""
        loop = asyncio.get_running_loop()
        return await loop.create_server(lambda: _Connection(self), sock=listener, backlog=_BACKLOG)

    def hand_over(self, number: int, invocation: int, timeout_s: float) -> None:
        """Answer the oldest request for an invocation."""
        request_id = str(uuid4())
        self.under_way[number][request_id] = invocation
        trace = os.urandom(20).hex()
        now_s = time.time()
        headers = [
            _JSON,
            (b"Content-Length", self._length),
            (b"Lambda-Runtime-Aws-Request-Id", request_id.encode()),
            (b"Lambda-Runtime-Deadline-Ms", b"%d" % ((now_s + timeout_s) * 1_000)),
            (b"Lambda-Runtime-Invoked-Function-Arn", self._arn),
            (
                b"Lambda-Runtime-Trace-Id",
                f"Root=1-{int(now_s):08x}-{trace[:24]};Parent={trace[24:]};Sampled=0".encode(),
            ),
        ]
        self.waiting[number].popleft().respond(h11.Response(status_code=200, headers=headers), self._event)

    def forget(self, number: int) -> None:
        """Close what an environment that has ended has left."""
        self.under_way[number].clear()
        self.waiting[number].clear()
        for connection in tuple(self.connections[number]):
            connection.abort()


class _Exchange:
    """A request up to its end."""

    __slots__ = ("body", "error_type", "invocation", "kept", "largest", "name", "refusal", "request_id", "size")

    def __init__(self, name: str) -> None:
        self.name = name
        """Of the operation: next, response, error, init."""
        self.request_id = self.error_type = ""
        self.refusal: _Refusal | None = None
        self.invocation = -1
        self.largest = LARGEST_ANSWER_BYTES
        self.body = bytearray()
        self.kept, self.size = EXAMPLE_BYTES, 0
        """How much is kept of the body, and how much has come."""


class _Connection(asyncio.Protocol):
    """One connection of a runtime client; its requests are answered one after another."""

    def __init__(self, api: RuntimeApi) -> None:
        self._api = api
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEADER_BYTES)
        self._exchange: _Exchange | None = None
        self._number = -1
        self._ahead = 0
        """Bytes that came while the request before them waits for its answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Know the environment by the address; close the connection if that is none, or has too many."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport
        number = _number_of(transport.get_extra_info("sockname")[0])
        if not 0 <= number < self._api.environments or len(self._api.connections[number]) >= _CONNECTIONS:
            transport.abort()
            return
        self._number = number
        self._api.connections[number].add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Nobody waits on it for an invocation any more."""
        if self._number < 0:
            return
        self._api.connections[self._number].discard(self)
        if self in self._api.waiting[self._number]:
            self._api.waiting[self._number].remove(self)
            self._api.functions.leaves(self._number)

    def abort(self) -> None:
        """Close it at once."""
        self._transport.abort()

    def pause_writing(self) -> None:
        """A client that does not read its answers sends no further requests."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It has read them."""
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Take what has come, and answer each request that is complete."""
        if self._exchange is not None and self._exchange.name == "next":
            self._ahead += len(data)
            if self._ahead > _AHEAD_BYTES:
                self.abort()
                return
        self._http.receive_data(data)
        self._go_on()

    def eof_received(self) -> None:
        """A client that has closed its end waits for nothing: asyncio closes the connection."""

    def respond(self, response: h11.Response, body: bytes) -> None:
        """Answer the request, in one write unless the body is large, and go on with the next one."""
        http = self._http
        self._exchange, self._ahead = None, 0
        parts = (http.send(response), http.send(h11.Data(data=body)), http.send(h11.EndOfMessage()))
        self._transport.writelines([part for part in parts if part])
        if http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
            if http.trailing_data[0]:
                asyncio.get_running_loop().call_soon(self._go_on)
        else:
            self._transport.close()

    def _go_on(self) -> None:
        try:
            while not self._transport.is_closing():
                event = self._http.next_event()
                if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                    return
                self._take(event)
        except h11.RemoteProtocolError as wrong:
            self._refuse_protocol(wrong)

    def _take(self, event: h11.Event | type[h11.NEED_DATA | h11.PAUSED]) -> None:
        if isinstance(event, h11.Request):
            self._exchange = self._begin(event)
            if self._http.they_are_waiting_for_100_continue:
                self._transport.write(self._http.send(h11.InformationalResponse(status_code=100, headers=[])) or b"")
        elif isinstance(event, h11.Data) and self._exchange is not None:
            exchange = self._exchange
            exchange.size += len(event.data)
            if len(exchange.body) < exchange.kept:
                exchange.body += event.data[: exchange.kept - len(exchange.body)]
            if exchange.size > _READ_BYTES:
                self.abort()
        elif isinstance(event, h11.EndOfMessage) and self._exchange is not None:
            self._finish(self._exchange, event)

    def _begin(self, request: h11.Request) -> _Exchange:
        """What a request asks for, and whether that can be refused before its body has come."""
        method, target = request.method.decode(), request.target.decode(errors="replace")
        path = target[len(_PREFIX) :] if target.startswith(_PREFIX) else ""
        answer = _ANSWER.fullmatch(path)
        name = {"invocation/next": "next", "init/error": "init"}.get(path, answer[2] if answer else "")
        exchange = _Exchange(name)
        if not name:
            exchange.refusal = _NOT_FOUND
        elif method != ("GET" if name == "next" else "POST"):
            exchange.refusal = _WRONG_METHOD
        elif answer:
            exchange.request_id = answer[1]
            exchange.invocation = self._api.under_way[self._number].get(answer[1], -1)
            if exchange.invocation < 0:
                again = answer[1] == self._api.answered[self._number]
                exchange.refusal = _not_now(f"invocation {name}") if again else _WRONG_ID
        if exchange.refusal is None and name != "next":
            _read_headers(exchange, request.headers)
        return exchange

    def _finish(self, exchange: _Exchange, end: h11.EndOfMessage) -> None:
        if exchange.refusal is not None:
            self._refuse(exchange.refusal)
        elif exchange.name == "next":
            self._api.waiting[self._number].append(self)
            if not self._api.functions.asks(self._number):
                self._api.waiting[self._number].remove(self)
                self._refuse(_not_now("invocation next"))
        elif exchange.name == "init":
            accepted = self._api.functions.init_fails(self._number, _reported(exchange))
            self._accept() if accepted else self._refuse(_not_now("init error"))
        else:
            self._answer(exchange, end.headers)

    def _answer(self, exchange: _Exchange, trailers: Sequence[tuple[bytes, bytes]]) -> None:
        """The end of an invocation: what is accepted is answered before it is told, so that its client can go on."""
        api, number = self._api, self._number
        failure = _reported(exchange) if exchange.name == "error" else _failed_stream(trailers)
        if exchange.size > exchange.largest:
            failure = _oversized(exchange)
        if api.under_way[number].pop(exchange.request_id, None) is None:  # answered meanwhile, on another connection
            self._refuse(_not_now(f"invocation {exchange.name}"))
            return
        api.answered[number] = exchange.request_id
        if exchange.size > exchange.largest:
            self._refuse(_TOO_LARGE)
        else:
            self._accept()
        api.functions.answers(number, exchange.invocation, failure, bytes(exchange.body))

    def _accept(self) -> None:
        self.respond(_ACCEPTED, _ACCEPTED_BODY)

    def _refuse(self, refusal: _Refusal) -> None:
        body = json.dumps({"errorMessage": refusal.message, "errorType": refusal.type}).encode()
        headers = [_JSON, (b"Content-Length", b"%d" % len(body))]
        self.respond(h11.Response(status_code=refusal.status, headers=headers), body)

    def _refuse_protocol(self, wrong: h11.RemoteProtocolError) -> None:
        """Say why a connection is closed on which something else than HTTP came."""
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"errorMessage": str(wrong)[:200], "errorType": "InvalidRequest"}).encode()
            headers = [_JSON, (b"Content-Length", b"%d" % len(body)), (b"Connection", b"close")]
            response = h11.Response(status_code=wrong.error_status_hint, headers=headers)
            self._transport.write(b"".join(filter(None, (self._http.send(response), body))))
        self._transport.close()


_ACCEPTED_BODY = b'{"status":"OK"}\n'
_ACCEPTED = h11.Response(status_code=202, headers=[_JSON, (b"Content-Length", b"%d" % len(_ACCEPTED_BODY))])


def _read_headers(exchange: _Exchange, headers: Sequence[tuple[bytes, bytes]]) -> None:
    for name, value in headers:
        if name == b"lambda-runtime-function-error-type":
            exchange.error_type = value.decode(errors="replace")
        elif name == b"lambda-runtime-function-response-mode" and value.lower() == b"streaming":
            exchange.largest = _LARGEST_STREAM_BYTES
    if exchange.name != "response":
        exchange.kept = _ERROR_BYTES


def _oversized(exchange: _Exchange) -> Failure:
    sizes = f"Response payload size ({exchange.size} bytes) exceeded maximum allowed payload size ({exchange.largest}"
    return Failure("Function.ResponseSizeTooLarge", f"{sizes} bytes).")


def _failed_stream(trailers: Sequence[tuple[bytes, bytes]]) -> Failure | None:
    """The error that trailers of a streamed response report, which began before it failed."""
    told = {name: value.decode(errors="replace") for name, value in trailers}
    error = told.get(b"lambda-runtime-function-error-type")
    return None if error is None else Failure(error, told.get(b"lambda-runtime-function-error-body", "")).bounded()


def _reported(exchange: _Exchange) -> Failure:
    """The error of a report, whatever is missing in it; what is not the JSON of one is its message."""
    text = exchange.body.decode(errors="replace")
    try:
        report = json.loads(text)
    except (ValueError, RecursionError):
        report = None
    if not isinstance(report, dict):
        return Failure(exchange.error_type, text).bounded()
    trace = report.get("stackTrace")
    lines = tuple(str(line) for line in trace) if isinstance(trace, list) else ()
    error_type = str(report.get("errorType") or exchange.error_type)
    return Failure(error_type, str(report.get("errorMessage") or ""), lines).bounded()
