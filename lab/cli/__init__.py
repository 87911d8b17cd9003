"""The command line. Only this room prints and exits; what it says of a mistake is a sentence, never a traceback."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from typer import Typer

from lab.cli import burst, capacity, capture, graph, impair, inside, labs, metrics, report, runs, topologies, watch, why
from lab.cli.show import complain
from lab.errors import KernelError, LabError

__all__ = ["app", "main"]

_INTERRUPTED = 130

app = Typer(
    name="lab",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="""
    AWS Lambda in a VPC, on this machine: Hyperplane ENI and NAT gateway connection limits, exact, at full scale.

    \b
    sudo lab up topologies/two_subnets.yaml        build it
    sudo lab burst -n 140000 --connect-timeout 3   140,000 invocations at once, and the verdict
    sudo lab exec checkout -- curl -s http://cache.example.com:443/
    sudo lab down                                  take it away
    """,
)
for room in (labs, burst, metrics, watch, why, report, impair, capture, graph, inside, topologies, capacity, runs):
    room.register(app)


def main() -> None:
    """The `lab` command: exit status as in `lab.errors`."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        app(prog_name="lab")
    except LabError as error:
        complain(str(error))
        sys.exit(error.exit_status)
    except OSError as error:  # a full or read-only disk, a namespace that somebody else has removed
        complain(f"the system refused: {error}")
        sys.exit(KernelError.exit_status)
    except RuntimeError as error:
        if not isinstance(error.__cause__, KeyboardInterrupt):
            raise
        sys.exit(_INTERRUPTED)  # Python before 3.12 has this for what is raised in __set_name__, while modules load
    except KeyboardInterrupt:  # before typer was there to take it
        sys.exit(_INTERRUPTED)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the status is settled; leaving is not to be interrupted


def _as_interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt
