"""A function's code, and which program runs it: a runtime client of AWS's, or the code's own `bootstrap`."""

from __future__ import annotations

from importlib.util import find_spec
import os
from pathlib import Path
import re
import shutil
import sys

from lab.errors import PreflightError, UsageError
from lab.invoke.asked import Invocations
from traffic.environments.spec import Handler

__all__ = ["handler_of"]

_NODE_CLIENT = Path("node_modules/aws-lambda-ric/bin/index.mjs"), Path("node_modules/aws-lambda-ric/bin/index.js")
_NODE_FILES = (".mjs", ".cjs", ".js")


def handler_of(asked: Invocations) -> Handler:
    """How the code is run; UsageError for code that is not there, PreflightError for a runtime that is not."""
    directory = Path(asked.code).absolute()
    if not directory.is_dir():
        raise UsageError(f"--code {asked.code}: no such directory; it is what a deployment package has in it")
    runtime, command = _runtime(directory, asked)
    return Handler(
        command=command,
        directory=str(directory.resolve()),
        name=asked.handler,
        runtime=runtime,
        timeout_s=asked.timeout_s,
        memory_mb=asked.memory_mb,
        variables=dict(each.split("=", 1) for each in asked.variables),
    )


def _runtime(directory: Path, asked: Invocations) -> tuple[str, tuple[str, ...]]:
    bootstrap = directory / "bootstrap"
    if bootstrap.is_file():
        if not os.access(bootstrap, os.X_OK):
            raise UsageError(f"{bootstrap} is no executable program; chmod +x {bootstrap}")
        return "provided.al2023", (str(bootstrap.resolve()),)
    file = _file_of(directory, asked)
    return _python(asked.handler) if file.suffix == ".py" else _node(directory, asked.handler)


def _file_of(directory: Path, asked: Invocations) -> Path:
    module, dot, _ = asked.handler.rpartition(".")
    if not dot or not module:
        there = ", ".join(sorted(each.name for each in directory.glob("*.py"))[:5]) or "no *.py"
        raise UsageError(
            f"--handler {asked.handler or '(none)'}: FILE.FUNCTION, such as app.handler for the function handler in "
            f"app.py; {directory} has {there} and no bootstrap"
        )
    path = directory / re.sub(r"[./]", "/", module)
    for suffix in (".py", *_NODE_FILES):
        if (file := path.with_name(path.name + suffix)).is_file():
            return file
    if (path / "__init__.py").is_file():
        return path / "__init__.py"
    raise UsageError(
        f"--handler {asked.handler}: {path}.py is not there, and no {path.name} of {', '.join(_NODE_FILES)}"
    )


def _python(handler: str) -> tuple[str, tuple[str, ...]]:
    if find_spec("awslambdaric") is None:
        raise PreflightError(
            f"Python handlers need AWS's runtime interface client; {sys.executable} -m pip install awslambdaric"
        )
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return f"python{version}", (sys.executable, "-m", "awslambdaric", handler)


def _node(directory: Path, handler: str) -> tuple[str, tuple[str, ...]]:
    node = shutil.which("node")
    if node is None:
        raise PreflightError("Node.js handlers need the program node; install it: apt install nodejs")
    client = next((directory / path for path in _NODE_CLIENT if (directory / path).is_file()), None)
    if client is None:
        raise UsageError(f"{directory} has no runtime interface client for Node.js; in it: npm install aws-lambda-ric")
    return "nodejs", (node, str(client), handler)
