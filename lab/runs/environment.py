"""Reads the machine and the versions that a run is made with; what a machine does not say is "unknown"."""

from __future__ import annotations

from contextlib import suppress
from importlib import metadata
import os
from pathlib import Path
import platform
import re
import subprocess

from lab.kernel.preflight import find
from lab.runs.run import Environment

__all__ = ["read_environment"]

_DISTRIBUTION = "lambda-vpc-lab"
_UNKNOWN = "unknown"
_NFT_WITHIN_S = 5


def read_environment() -> Environment:
    """The machine and its versions as they are now."""
    return Environment(
        lab=_version(_DISTRIBUTION),
        kernel=platform.release(),
        distribution=_distribution(),
        processor=_entry(Path("/proc/cpuinfo"), "model name") or platform.machine() or _UNKNOWN,
        processors=os.cpu_count() or 0,
        memory_bytes=_memory_bytes(),
        python=platform.python_version(),
        nft=_nft(),
        packages=_packages(),
    )


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", _UNKNOWN)
    except OSError:
        return _UNKNOWN


def _memory_bytes() -> int:
    kibibytes, *_ = (_entry(Path("/proc/meminfo"), "MemTotal") or "0").split()  # "16318480 kB" (proc_meminfo(5))
    return int(kibibytes) << 10


def _entry(path: Path, name: str) -> str | None:
    """The first entry of that name in a file of `name : value` lines."""
    with suppress(OSError), path.open(encoding="utf-8") as lines:
        for line in lines:
            title, colon, value = line.partition(":")
            if colon and title.strip() == name:
                return value.strip()
    return None


def _nft() -> str:
    """The version as `nft --version` says it: `nftables v1.0.6 (Lester Gooch #5)`."""
    program = find("nft")
    if program is None:
        return _UNKNOWN
    with suppress(OSError, subprocess.TimeoutExpired):
        said = subprocess.run(
            (program, "--version"), capture_output=True, encoding="utf-8", check=False, timeout=_NFT_WITHIN_S
        ).stdout
        return said.strip() or _UNKNOWN
    return _UNKNOWN


def _packages() -> dict[str, str]:
    """What the lab itself requires, as installed."""
    try:
        required = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # run from a checkout that was never installed
        return {}
    names = [
        re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in required if "extra ==" not in requirement
    ]
    return {name: _version(name) for name in sorted(names)}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return _UNKNOWN
