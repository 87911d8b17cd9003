"""What a lab needs of the machine, checked before the first step: each lack has a sentence and a command that helps."""

from __future__ import annotations

import os
from pathlib import Path
import shlex
import shutil
import subprocess
import sys

from lab.errors import PreflightError

__all__ = ["find", "require_everything", "require_root"]

_CONNTRACK = Path("/proc/sys/net/netfilter/nf_conntrack_max")
_PROGRAMS = {"nft": "nftables", "ip": "iproute2"}
"""Program → the Debian and Ubuntu package that has it."""


def require_root() -> None:
    """Network namespaces and packet rings need root."""
    if os.geteuid() != 0:
        command = shlex.join([Path(sys.argv[0]).name or "lab", *sys.argv[1:]])
        raise PreflightError(f"the lab makes network namespaces, which needs root; run: sudo {command}")


def require_everything() -> None:
    """Everything that `up` needs."""
    if sys.platform != "linux":
        raise PreflightError("the lab needs Linux; run it in a virtual machine: vagrant up")
    require_root()
    lacking = [package for program, package in _PROGRAMS.items() if find(program) is None]
    if lacking:
        packages = " ".join(lacking)
        raise PreflightError(f"not installed: {packages}; run: sudo apt-get install -y {packages}")
    _require_conntrack()


def find(program: str) -> str | None:
    """Where a program is; the directories of system programs count, also where `PATH` lacks them."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _require_conntrack() -> None:
    if _CONNTRACK.exists():
        return
    if modprobe := find("modprobe"):
        subprocess.run([modprobe, "nf_conntrack"], capture_output=True, check=False)
    if not _CONNTRACK.exists():
        raise PreflightError(
            "this kernel has no connection tracking (CONFIG_NF_CONNTRACK); "
            "run: sudo modprobe nf_conntrack, or boot the distribution's own kernel"
        )
