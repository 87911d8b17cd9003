"""The Runtime API over a socket: what a runtime client is answered, and what it cannot do whatever it sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
import json
import re
import socket
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
import pytest

from traffic.environments.api import LARGEST_ANSWER_BYTES, RuntimeApi, address_of, listen
from traffic.environments.result import Failure

EVENT = b'{"key": 1}'
NEXT = b"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n"


class Functions:
    """Hands invocation 0, 1, 2 … over at once unless told to wait."""

    def __init__(self) -> None:
        self.api: RuntimeApi
        self.is_busy = self.may = True
        self.told: list[tuple[int, int, Failure | None, bytes]] = []
        self.failed: list[tuple[int, Failure]] = []
        self.left: list[int] = []
        self.handed = 0

    def hand_over(self, number: int) -> None:
        """The next invocation."""
        self.api.hand_over(number, self.handed, 3.0)
        self.handed += 1

    def asks(self, number: int) -> bool:
        """It gets an invocation if there is any."""
        if self.may and self.is_busy:
            self.hand_over(number)
        return self.may

    def leaves(self, number: int) -> None:
        """Remembered."""
        self.left.append(number)

    def answers(self, number: int, invocation: int, failure: Failure | None, body: bytes) -> bool:
        """Remembered."""
        self.told.append((number, invocation, failure, body))
        return True

    def init_fails(self, number: int, failure: Failure) -> bool:
        """Remembered."""
        self.failed.append((number, failure))
        return self.may


class Answer(NamedTuple):
    """One response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """The type of the error in its body."""
        return str(json.loads(self.body)["errorType"])


class Client:
    """One connection of an environment."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, request: bytes) -> Answer:
        """Send bytes and read one response."""
        self._writer.write(request)
        return await self.answer()

    async def answer(self) -> Answer:
        """The next response."""
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await self._reader.readexactly(int(headers["content-length"]))
        return Answer(int(status.split()[1]), headers, body)

    async def send(self, data: bytes) -> None:
        """Send bytes, also to nobody."""
        self._writer.write(data)
        try:
            await self._writer.drain()
        except ConnectionError:
            return

    async def rest(self) -> bytes:
        """Everything up to the end of the connection."""
        try:
            return await self._reader.read()
        except ConnectionError:
            return b""

    async def close(self) -> None:
        """Disconnect."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return


Connect = Callable[..., Awaitable[Client]]


@asynccontextmanager
async def _served(functions: Functions, event: bytes = EVENT) -> AsyncIterator[Connect]:
    listener = listen()
    api = functions.api = RuntimeApi(functions, 300, "checkout", event)
    server = await api.serve(listener)
    clients: list[Client] = []

    async def connect(number: int = 0) -> Client:
        opened = await asyncio.open_connection(address_of(number), listener.getsockname()[1])
        clients.append(Client(*opened))
        return clients[-1]

    try:
        yield connect
    finally:
        for client in clients:
            await client.close()
        for number in range(300):
            api.forget(number)
        server.close()
        await server.wait_closed()


async def _until(claim: Callable[[], bool]) -> None:
    """Let the loop work until the claim is true."""
    while not claim():  # noqa: ASYNC110 -- nobody sets an event
        await asyncio.sleep(0)


def _post(path: str, body: bytes = b"{}", *headers: str) -> bytes:
    lines = (f"POST /2018-06-01/runtime/{path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def test_an_invocation() -> None:
    """The headers that AWS documents, the event, and the answer."""

    async def talk() -> None:
        functions = Functions()
        async with _served(functions) as connect:
            client = await connect(257)
            given = await client.ask(NEXT)
            assert (given.status, given.body, given.headers["content-type"]) == (200, EVENT, "application/json")
            request_id = given.headers["lambda-runtime-aws-request-id"]
            assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", request_id)
            trace = given.headers["lambda-runtime-trace-id"]
            assert re.fullmatch(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0", trace)
            assert given.headers["lambda-runtime-invoked-function-arn"].endswith(":function:checkout")
            assert given.headers["lambda-runtime-deadline-ms"].isdigit()
            accepted = await client.ask(_post(f"invocation/{request_id}/response", b"done"))
            assert (accepted.status, json.loads(accepted.body)) == (202, {"status": "OK"})
            assert functions.told == [(257, 0, None, b"done")]

    asyncio.run(talk())


def test_a_request_waits_for_an_invocation() -> None:
    """Who asks while there is none is answered when there is one; who disconnects is not waited for."""

    async def talk() -> None:
        functions = Functions()
        functions.is_busy = False
        async with _served(functions) as connect:
            first, second = await connect(0), await connect(1)
            for client in (first, second):
                await client.send(NEXT)
            await _until(lambda: all(functions.api.waiting[:2]))
            await first.close()
            await _until(lambda: functions.left == [0])
            functions.hand_over(1)
            assert (await second.answer()).body == EVENT

    asyncio.run(talk())


@pytest.mark.parametrize(
    ("report", "headers", "failure"),
    [
        (
            b'{"errorMessage": "no", "errorType": "ValueError", "stackTrace": ["a", "b"]}',
            (),
            Failure("ValueError", "no", ("a", "b")),
        ),
        (b"{}", ("Lambda-Runtime-Function-Error-Type: Extension.Bad",), Failure("Extension.Bad")),
        (b"not JSON", ("Lambda-Runtime-Function-Error-Type: My.Type",), Failure("My.Type", "not JSON")),
        (b"[" * 100_000, (), Failure("Unhandled", "[" * 4_096)),
        (b'{"stackTrace": 5, "errorMessage": null}', (), Failure("Unhandled")),
    ],
)
def test_errors_are_reported(report: bytes, headers: tuple[str, ...], failure: Failure) -> None:
    """What the body says, or the header; anything else is the message."""

    async def talk() -> None:
        functions = Functions()
        async with _served(functions) as connect:
            client = await connect()
            request_id = (await client.ask(NEXT)).headers["lambda-runtime-aws-request-id"]
            assert (await client.ask(_post(f"invocation/{request_id}/error", report, *headers))).status == 202
            assert functions.told[0][:3] == (0, 0, failure)
            assert (await client.ask(_post("init/error", report, *headers))).status == 202
            assert functions.failed == [(0, failure)]

    asyncio.run(talk())


def test_chunks_and_streams() -> None:
    """A body may come in chunks; a stream may report in its trailers that it has failed."""

    async def talk() -> None:
        functions = Functions()
        async with _served(functions) as connect:
            client = await connect()
            for trailer in (b"", b"Lambda-Runtime-Function-Error-Type: Broken.Stream\r\n"):
                request_id = (await client.ask(NEXT)).headers["lambda-runtime-aws-request-id"].encode()
                accepted = await client.ask(
                    b"POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\n"
                    b"Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\r\n"
                    b"3\r\nabc\r\n2\r\nde\r\n0\r\n%s\r\n" % (request_id, trailer)
                )
                assert accepted.status == 202
            assert functions.told == [(0, 0, None, b"abcde"), (0, 1, Failure("Broken.Stream"), b"abcde")]

    asyncio.run(talk())


@pytest.mark.parametrize("excess", [0, 1])
def test_the_largest_answer(excess: int) -> None:
    """One byte more than AWS takes is refused, and is an error of the function."""

    async def talk() -> None:
        functions = Functions()
        async with _served(functions) as connect:
            client = await connect()
            request_id = (await client.ask(NEXT)).headers["lambda-runtime-aws-request-id"]
            body = b"x" * (LARGEST_ANSWER_BYTES + excess)
            answer = await client.ask(_post(f"invocation/{request_id}/response", body))
            failure = functions.told[0][2]
            assert (answer.status, failure and failure.type) == (
                (413, "Function.ResponseSizeTooLarge") if excess else (202, None)
            )
            assert len(functions.told[0][3]) == 4_096

    asyncio.run(talk())


def test_a_large_event() -> None:
    """6 MB, whole."""

    async def talk() -> None:
        event = b"e" * 6_000_000
        async with _served(Functions(), event) as connect:
            assert (await (await connect()).ask(NEXT)).body == event

    asyncio.run(talk())


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        (_post("invocation/unknown/response"), 400, "InvalidRequestID"),
        (_post("invocation/{id}/response"), 403, "InvalidStateTransition"),
        (_post("invocation/{id}/error"), 403, "InvalidStateTransition"),
        (_post("invocation/next"), 405, "MethodNotAllowed"),
        (NEXT.replace(b"GET", b"PUT"), 405, "MethodNotAllowed"),
        (NEXT.replace(b"next", b"other"), 404, "NotFound"),
        (NEXT.replace(b"2018", b"2017"), 404, "NotFound"),
        (_post("invocation/" + "x" * 100 + "/response"), 404, "NotFound"),
        (NEXT, 403, "InvalidStateTransition"),
        (_post("init/error"), 403, "InvalidStateTransition"),
    ],
)
def test_refusals(request_: bytes, status: int, error: str) -> None:
    """A wrong request is answered with AWS's JSON, and the connection goes on."""

    async def talk() -> None:
        functions = Functions()
        async with _served(functions) as connect:
            client = await connect()
            request_id = (await client.ask(NEXT)).headers["lambda-runtime-aws-request-id"]
            await client.ask(_post(f"invocation/{request_id}/response"))
            functions.may = False
            answer = await client.ask(request_.replace(b"{id}", request_id.encode()))
            assert (answer.status, answer.error) == (status, error)
            functions.may = True
            assert (await client.ask(NEXT)).status == 200

    asyncio.run(talk())


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x00\xa5",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * (5 << 20),
        NEXT + b"z" * (1 << 20),  # while the answer is waited for
    ],
)
def test_garbage_ends_its_connection(garbage: bytes) -> None:
    """What is no HTTP, or too much, ends the connection on which it comes, and no other."""

    async def talk() -> None:
        functions = Functions()
        async with _served(functions) as connect:
            bad, good = await connect(0), await connect(1)
            functions.is_busy = False
            await bad.send(garbage)
            assert b" 200 " not in await bad.rest()
            functions.is_busy = True
            assert (await good.ask(NEXT)).status == 200

    asyncio.run(talk())


@given(
    st.lists(st.binary(max_size=200) | st.sampled_from([NEXT, b"GET ", b"\r\n\r\n", b"HTTP/1.1", _post("init/error")]))
)
def test_no_bytes_stop_it(pieces: list[bytes]) -> None:
    """Whatever comes, nothing is raised in the loop, and others are served."""

    async def talk() -> None:
        raised: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: raised.append(context))
        async with _served(Functions()) as connect:
            bad, good = await connect(0), await connect(1)
            for piece in pieces:
                await bad.send(piece)
            assert (await good.ask(NEXT)).status == 200
        assert not raised

    asyncio.run(talk())


def test_connections_are_bounded() -> None:
    """An environment that opens connections without end gets no more; others do."""

    async def talk() -> None:
        functions = Functions()
        async with _served(functions) as connect:
            many = [await connect(0) for _ in range(70)]
            assert await many[-1].rest() == b""
            assert len(functions.api.connections[0]) == 64
            assert (await (await connect(1)).ask(NEXT)).status == 200

    asyncio.run(talk())


def test_addresses_of_nobody() -> None:
    """Who comes to an address of the loopback network that is no environment's is turned away."""

    async def talk() -> None:
        async with _served(Functions()) as connect:
            assert await (await connect(299)).ask(NEXT)
            assert await (await connect(300)).rest() == b""

    asyncio.run(talk())


def test_a_port_that_is_taken() -> None:
    """Two in one namespace have a port each."""
    first, second = listen(), listen()
    ports = {each.getsockname()[1] for each in (first, second)}
    assert len(ports) == 2
    assert all(9_001 <= port <= 9_099 for port in ports)
    assert first.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
    for each in (first, second):
        each.close()


def test_environments_have_addresses_of_their_own() -> None:
    """As many as a lab may have."""
    assert len({address_of(number) for number in range(10_000)}) == 10_000
    assert (address_of(0), address_of(250)) == ("127.1.0.1", "127.1.1.1")
