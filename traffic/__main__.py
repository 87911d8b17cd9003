"""`python -m traffic VERB SPEC_JSON`: one traffic process, started inside its network namespace."""

from __future__ import annotations

from importlib import import_module
import sys
from typing import TYPE_CHECKING

from traffic.events import emit
from traffic.spec import BurstSpec, ResolverSpec, ServerSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

_ARGUMENTS = 3


def main(arguments: Sequence[str]) -> int:
    """Run one verb; the exit status."""
    if len(arguments) != _ARGUMENTS or arguments[1] not in _VERBS:
        sys.stderr.write(f"usage: python -m traffic {{{'|'.join(_VERBS)}}} SPEC_JSON\n")
        return 2
    try:
        _VERBS[arguments[1]](arguments[2])
    except (OSError, ValueError, TypeError, KeyError) as error:
        emit("error", message=f"{arguments[1]}: {error}")
        return 1
    return 0


def _resolver(text: str) -> None:
    spec = ResolverSpec.from_json(text)
    from traffic.servers.service import run_resolver  # noqa: PLC0415 -- each verb loads only what it needs: start-up counts

    run_resolver(spec)


def _server(text: str) -> None:
    spec = ServerSpec.from_json(text)
    from traffic.servers.service import run_server  # noqa: PLC0415 -- as above

    run_server(spec)


def _listener(text: str) -> None:
    spec = ServerSpec.from_json(text)
    from traffic.servers.listeners import run  # noqa: PLC0415 -- as above

    run(spec)


def _burst(text: str) -> None:
    spec = BurstSpec.from_json(text)
    import_module(f"traffic.engines.{spec.engine}.engine").run(spec)  # only the engine that is asked for


_VERBS = {"resolver": _resolver, "server": _server, "listener": _listener, "burst": _burst}

if __name__ == "__main__":
    sys.exit(main(sys.argv))
