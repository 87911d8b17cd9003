"""`python -m lab.sandbox.agent DESCRIPTOR NAME`: inside of the sandbox, for a process outside (`remote`)."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from itertools import count
from multiprocessing.connection import Connection
import pickle
import signal
import sys
from typing import Any

from lab.errors import PreflightError
from lab.sandbox.entering import enter
from lab.sandbox.remote import Answer, Callback, Kept, Request, passable

__all__: list[str] = []


def main() -> None:
    """Enter the sandbox, then do what is asked until nobody asks any more."""
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    try:
        enter(make=True, listens=True)
    except PreflightError as lacking:
        connection.send(Answer(0, "raised", lacking))
        return
    module, _, name = sys.argv[2].partition(":")
    with suppress(EOFError, OSError):  # nobody is outside any more
        _Agent(connection, getattr(import_module(module), name)).serve()


class _Agent:
    """Objects by number; those of the class that was asked for, and what can be no copy, stay here.

    An interrupt reaches what is being done, never the reading or writing of a message.
    """

    def __init__(self, connection: Connection[Any, Any], kept: type[Any]) -> None:
        self._connection, self._kept = connection, kept
        self._objects: list[Any] = []
        self._callbacks = count(1)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self._say(Answer(0, "returned", self._passed(kept)))

    def serve(self) -> None:
        """EOFError when the process outside has closed the connection."""
        while True:
            self._do(self._connection.recv())

    def _do(self, request: Request) -> None:
        arguments = [self._here(each) for each in request.arguments]
        named = {key: self._here(value) for key, value in request.named.items()}
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            try:
                result = _called(self._objects[request.target], request.method, arguments, named)
            finally:
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        except BaseException as raised:  # noqa: BLE001 -- an interrupt as well: it is raised outside
            self._say(Answer(request.number, "raised", passable(raised)))
        else:
            self._say(Answer(request.number, "returned", self._passed(result)))

    def _say(self, answer: Answer) -> None:
        self._connection.send(answer)

    def _passed(self, value: Any) -> Any:
        if not callable(value) and not isinstance(value, self._kept):
            with suppress(Exception):
                pickle.loads(pickle.dumps(value))  # noqa: S301 -- its own
                return value
        self._objects.append(value)
        return Kept(len(self._objects) - 1, repr(value))

    def _here(self, value: Any) -> Any:
        if isinstance(value, Kept):
            return self._objects[value.number]
        if isinstance(value, Callback):
            return lambda *arguments: self._call_back(value, arguments)
        return value

    def _call_back(self, callback: Callback, arguments: tuple[Any, ...]) -> None:
        """Have a function outside called, and serve what it asks for meanwhile."""
        number = next(self._callbacks)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._say(Answer(number, "called", (callback, tuple(map(self._passed, arguments)))))
            while isinstance(message := self._connection.recv(), Request):
                self._do(message)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        if message.what == "raised":
            raise message.value


def _called(target: Any, method: str, arguments: list[Any], named: dict[str, Any]) -> Any:
    if method == "__getattribute__":
        return getattr(target, *arguments)
    return getattr(type(target), method)(target, *arguments, **named)


if __name__ == "__main__":
    main()
