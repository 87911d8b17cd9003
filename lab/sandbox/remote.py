"""Objects of a process in the user's sandbox, used from a process outside, such as a test: calls are passed on.

What comes back is a copy, where it can be one, or stays inside and is passed on to in its turn. Functions that are
passed are called outside, and what they raise is raised inside, as where both are one process.
"""

from __future__ import annotations

from itertools import count
from multiprocessing.connection import Pipe
import pickle
from queue import SimpleQueue
import signal
import subprocess
import sys
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from lab.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

__all__ = ["Answer", "Callback", "Kept", "Remote", "Request", "passable", "remote"]

_ENDS_WITHIN_S = 10.0


class Kept(NamedTuple):
    """An object that stays in the sandbox, in a message."""

    number: int
    text: str
    """How it describes itself."""


class Callback(NamedTuple):
    """A function that stays outside, in a message."""

    number: int


class Request(NamedTuple):
    """A method that is to be called inside; of the first one, which is not sent, the result is the named object."""

    number: int
    target: int
    """The object's."""
    method: str
    arguments: list[Any]
    named: dict[str, Any]


class Answer(NamedTuple):
    """What came of a request, or of a callback; or a callback that is to be made for a request."""

    number: int
    what: str
    """`returned`, `raised` or `called`."""
    value: Any


def remote(name: str) -> Remote:
    """What this name of a module stands for (`lab.lab:Lab`), in a new process inside; `close` ends that.

    PreflightError: this machine allows no sandbox.
    """
    return _Agent(name).first


class Remote:
    """An object inside."""

    def __init__(self, agent: _Agent, kept: Kept) -> None:
        self._agent, self._kept = agent, kept

    def close(self) -> None:
        """End the process inside, and all that stayed there."""
        self._agent.close()

    def __getattr__(self, name: str) -> Any:
        return self._agent.ask(self._kept, "__getattribute__", name)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """What it returns: a copy, or another such object; what it raises is raised."""
        return self._agent.ask(self._kept, "__call__", *arguments, **named)

    def __repr__(self) -> str:
        return f"<in the sandbox: {self._kept.text}>"

    def __iter__(self) -> Self:
        return self._agent.ask(self._kept, "__iter__")  # type: ignore[no-any-return]

    def __next__(self) -> Any:
        return self._agent.ask(self._kept, "__next__")

    def __enter__(self) -> Any:
        return self._agent.ask(self._kept, "__enter__")

    def __exit__(self, *_: object) -> None:
        self._agent.ask(self._kept, "__exit__", None, None, None)

    def as_message(self) -> Kept:
        """How it is told from other objects inside."""
        return self._kept


class _Agent:
    """The process inside, as seen from outside.

    A thread reads what it says, so that an exception in the midst of a call, as of a test's time limit, leaves no half
    of a message to be read.
    """

    def __init__(self, name: str) -> None:
        self._connection, theirs = Pipe()
        words = (sys.executable, "-P", "-m", "lab.sandbox.agent", str(theirs.fileno()), name)
        self._process = subprocess.Popen(words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        theirs.close()
        self._said: SimpleQueue[Answer | None] = SimpleQueue()
        self._numbers = count(1)
        self._unanswered = set[int]()
        self._functions: dict[int, Callable[..., Any]] = {}
        Thread(target=_read, args=(self._connection, self._said), daemon=True).start()
        self.first: Remote = self._answer_to(0)

    def close(self) -> None:
        """End it; it is killed if it does not end by itself."""
        self._connection.close()
        try:
            self._process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, target: Kept, method: str, *arguments: Any, **named: Any) -> Any:
        """Have a method of an object inside called."""
        number = next(self._numbers)
        words = {key: self._passed(value) for key, value in named.items()}
        self._send(Request(number, target.number, method, [self._passed(value) for value in arguments], words))
        try:
            return self._answer_to(number)
        except BaseException:
            if number in self._unanswered:  # this process gives up: so shall that one
                self._process.send_signal(signal.SIGINT)
            raise

    def _passed(self, value: Any) -> Any:
        if isinstance(value, Remote):
            return value.as_message()
        if not callable(value):
            return value
        number = next(self._numbers)
        self._functions[number] = value
        return Callback(number)

    def _send(self, message: Request | Answer) -> None:
        try:
            self._connection.send(message)
        except OSError as gone:
            raise _ended() from gone

    def _answer_to(self, number: int) -> Any:
        """Wait for it; answers to requests that were given up are dropped."""
        self._unanswered.add(number)
        while True:
            answer = self._said.get()
            if answer is None:
                self._said.put(None)  # whoever asks next shall not wait for ever
                self._unanswered.discard(number)
                raise _ended()
            if answer.what == "called":
                self._call_back(answer)
            elif answer.number == number:
                self._unanswered.discard(number)
                if answer.what == "raised":
                    raise answer.value
                return self._received(answer.value)

    def _received(self, value: Any) -> Any:
        return Remote(self, value) if isinstance(value, Kept) else value

    def _call_back(self, asked: Answer) -> None:
        callback, arguments = asked.value
        try:
            self._functions[callback.number](*map(self._received, arguments))
        except BaseException as raised:
            self._send(Answer(asked.number, "raised", passable(raised)))
            if not isinstance(raised, Exception):
                raise
        else:
            self._send(Answer(asked.number, "returned", None))


def passable(raised: BaseException) -> BaseException:
    """The exception, or one that says the same and can be copied."""
    try:
        pickle.loads(pickle.dumps(raised))  # noqa: S301 -- its own
    except Exception:  # noqa: BLE001 -- whatever its class does
        return KernelError(f"{type(raised).__name__}: {raised}")
    return raised


def _read(connection: Connection[Any, Any], said: SimpleQueue[Answer | None]) -> None:
    try:
        while True:
            said.put(connection.recv())
    except (EOFError, OSError, TypeError):  # TypeError: `close` by another thread, before Python 3.13
        said.put(None)


def _ended() -> KernelError:
    return KernelError("the sandbox has been ended meanwhile, or the lab's process in it; its labs may be gone")
