"""The command line. Only this room prints and exits; what it says of a mistake is a sentence, never a traceback.

The `lab` command begins here, where nothing slow is loaded yet, so that signals are taken from the beginning.
"""

from __future__ import annotations

import sys
from typing import NoReturn

from lab.cli import streams
from lab.errors import KernelError
from lab.interrupts import INTERRUPTED, Interrupts, ignore

__all__ = ["main"]


def main() -> NoReturn:
    """The `lab` command: exit status as in `lab.errors`."""
    interrupts = Interrupts()
    interrupts.take()
    try:
        streams.prepare()
        from lab.cli.commands import run  # 0.15 s, in which signals come as well

        status = run()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except RuntimeError as error:
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        status = INTERRUPTED  # Python before 3.12 has this for what is raised in __set_name__, while modules load
    except MemoryError:
        sys.stderr.write("the system refused: no memory is left (ulimit -v, memory.max)\n")
        status = KernelError.exit_status
    ignore()
    sys.exit(streams.finish(interrupts.exit_status(status)))
