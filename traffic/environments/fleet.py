"""`python -m traffic fleet`: a program that runs once in each of several environments, at the same time.

Events: `output` for each line that one writes, `ended` for each that has ended, `finished` after the last.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from traffic.environments.processes import Process, Program, base_variables
from traffic.environments.supervisor import Parent, begin, end, reap_orphans
from traffic.events import emit

if TYPE_CHECKING:
    from traffic.environments.spec import FleetProgramSpec

__all__ = ["run"]

_STREAMS = {1: "stdout", 2: "stderr"}
_REAP_EVERY_S = 1.0
_LINE_BYTES = 64 << 10
"""A longer line is told in pieces."""


def run(spec: FleetProgramSpec) -> None:
    """Run the program to its end; OSError or ValueError if the environments cannot be made."""
    program = Program.of(spec.command, spec.directory, spec.isolation, spec.environments)
    begin()
    asyncio.run(_run(spec, program))


async def _run(spec: FleetProgramSpec, program: Program) -> None:
    parent, loop = Parent(), asyncio.get_running_loop()
    finished = loop.create_future()
    processes: dict[int, Process] = {}

    def ended(number: int, status: int) -> None:
        del processes[number]
        emit("ended", environment=number, status=max(status, 0), signal=max(-status, 0) or None)
        if not processes:
            finished.set_result(None)

    def reap() -> None:
        reap_orphans(processes)
        loop.call_later(_REAP_EVERY_S, reap)

    reap()
    variables = base_variables() | {"LAMBDA_TASK_ROOT": program.directory} | spec.variables
    try:
        for number in range(len(spec.environments)):
            processes[number] = Process(
                program,
                number,
                variables,
                _Lines(number).add,
                lambda status, number=number: ended(number, status),  # type: ignore[misc]
            )
        await asyncio.wait((parent.ends, finished), return_when=asyncio.FIRST_COMPLETED)
        if finished.done():
            emit("finished")
        elif parent.ends.done():
            await parent.ends
    finally:
        await end(processes)


class _Lines:
    """Tells what an environment writes, line by line."""

    def __init__(self, environment: int) -> None:
        self._environment = environment
        self._begun = {1: b"", 2: b""}

    def add(self, number: int, data: bytes) -> None:
        """Bytes of a stream; none at its end, which ends a line too."""
        *lines, rest = (self._begun[number] + data).split(b"\n")
        if rest and (not data or len(rest) > _LINE_BYTES):
            lines, rest = [*lines, rest], b""
        self._begun[number] = rest
        for line in lines:
            emit(
                "output",
                environment=self._environment,
                stream=_STREAMS[number],
                line=line.decode(errors="replace"),
            )
