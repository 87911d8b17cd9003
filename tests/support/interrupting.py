"""A function interrupted at each of its instructions, as Ctrl-C may interrupt it at any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dis import opmap
from itertools import count
import sys
from types import FrameType
from typing import Any

__all__ = ["interrupts_of"]

_RETURN = opmap["RETURN_VALUE"]
"""Before this one CPython looks for no signal (`CHECK_EVAL_BREAKER` in ceval.c: calls, jumps back, beginnings)."""


def interrupts_of(function: Callable[[], object]) -> Iterator[KeyboardInterrupt]:
    """Call it again and again, interrupted at its first instruction in Python, its second, …, until one call ends.

    What it calls is interrupted, too. The exceptions have their tracebacks, which hold what their frames hold.
    """
    for step in count():
        interrupt = _interrupted_at(step, function)
        if interrupt is None:
            return
        yield interrupt


def _interrupted_at(step: int, function: Callable[[], object]) -> KeyboardInterrupt | None:
    steps = count()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_opcodes = True
        returns = frame.f_code.co_code[frame.f_lasti] == _RETURN
        if event == "opcode" and not returns and next(steps) == step:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    except KeyboardInterrupt as interrupt:
        return interrupt
    finally:
        sys.settrace(before)
    return None
