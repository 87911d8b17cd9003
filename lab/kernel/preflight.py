"""What a lab needs of the machine, checked before the first step: each lack has a sentence and a command that helps."""

from __future__ import annotations

from contextlib import suppress
import os
from pathlib import Path
import re
import resource
import shlex
import shutil
import subprocess
import sys

from lab.errors import PreflightError
from traffic.resources import Resources, most_connections
from traffic.spec import Engine

__all__ = [
    "available_memory_bytes",
    "find",
    "require_address_space",
    "require_capabilities",
    "require_descriptors",
    "require_everything",
    "require_program",
    "require_resources",
    "require_root",
    "search_path",
]

_FEATURES = (
    (Path("/proc/sys/net/netfilter/nf_conntrack_max"), "nf_conntrack", "connection tracking (CONFIG_NF_CONNTRACK)"),
    (Path("/proc/net/netfilter/nfnetlink_log"), "nfnetlink_log", "NFLOG (CONFIG_NETFILTER_NETLINK_LOG)"),
)
"""What is there once the kernel can do it, the module that makes it so, and its name."""
_NEEDED = ("nft", "ip")
_PACKAGES = {
    "conntrack": "conntrack",
    "curl": "curl",
    "dig": "bind9-dnsutils",
    "ip": "iproute2",
    "nft": "nftables",
    "nginx": "nginx-light",
    "node": "nodejs",
    "ping": "iputils-ping",
    "redis-benchmark": "redis-tools",
    "redis-cli": "redis-tools",
    "redis-server": "redis-server",
    "ss": "iproute2",
    "tcpdump": "tcpdump",
    "tshark": "tshark",
    "wrk": "wrk",
}
"""Program → the Debian and Ubuntu package that has it: what a lab needs, and what people run in its nodes."""
_SERVICES = ("nginx", "redis-server")
"""Programs whose package starts a service of the machine's own."""
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13, "CAP_SYS_ADMIN": 21}
"""Capability → its bit (linux/capability.h): for links and nftables, packet sockets, namespaces and mounts."""
_CONTAINER = "as in a container without privileges; start that with --privileged (docker run, podman run)"
_MEMORY, _OPEN_FILES = Path("/proc/meminfo"), Path("/proc/sys/fs/file-nr")
_OTHER_DESCRIPTORS = 64
"""What is open for a moment or for good beside the things that are counted: pipes to nft, files, an event loop."""
_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_OF_THREAD_BYTES = 384 << 20, 16 << 20
"""Measured: with 9 namespaces `up` fails at 320 MB and succeeds at 350; a thread's stack has 8 MiB (pthreads(7))."""
_STATUS, _SETTINGS = Path("/proc/self/status"), Path("/proc/sys")
_SYSTEM_DIRECTORIES = {"/usr/bin": "/usr/sbin", "/bin": "/sbin"}
"""Directory of everybody's programs → the one with the programs of the system beside it."""


def require_root() -> None:
    """Network namespaces and packet rings need root, of this machine or of a sandbox."""
    if os.geteuid() != 0:
        command = shlex.join([Path(sys.argv[0]).name or "lab", *sys.argv[1:]])
        raise PreflightError(
            "labs are root's, or in a sandbox of yours, which `lab up` makes and `lab sandbox -- COMMAND` enters; "
            f"run: sudo {command}"
        )
    require_capabilities()


def require_capabilities() -> None:
    """Those that root of a container may lack; who is not root has no labs, and none to lack."""
    if os.geteuid() != 0:
        return
    (held,) = (
        int(mask, 16) for mask in re.findall(r"^CapEff:\s*(\w+)", _STATUS.read_text(encoding="utf-8"), re.MULTILINE)
    )
    if lacking := [name for name, bit in _CAPABILITIES.items() if not held >> bit & 1]:
        raise PreflightError(f"this process is root without {', '.join(lacking)}, {_CONTAINER}")


def require_everything() -> None:
    """PreflightError unless this machine has everything that `up` needs."""
    if sys.platform != "linux":
        raise PreflightError("the lab needs Linux; run it in a virtual machine: vagrant up")
    require_root()
    lacking = [_PACKAGES[program] for program in _NEEDED if find(program) is None]
    if lacking:
        packages = " ".join(lacking)
        raise PreflightError(f"not installed: {packages}; run: sudo apt-get install -y {packages}")
    for there, module, feature in _FEATURES:
        _require_feature(there, module, feature)
    if os.statvfs(_SETTINGS).f_flag & os.ST_RDONLY:
        raise PreflightError(f"{_SETTINGS}, by which namespaces get their settings, is read-only, {_CONTAINER}")
    from lab.kernel.netns import NETNS_DIRECTORY, prepare_directory  # noqa: PLC0415  # `lab exec` needs neither ctypes nor threads

    try:
        prepare_directory()
    except OSError as refused:
        raise PreflightError(
            f"{NETNS_DIRECTORY}, where namespaces have their names, cannot be made a shared mount ({refused}), "
            f"{_CONTAINER}"
        ) from None


def require_program(program: str) -> None:
    """PreflightError unless this machine has the program, so that it can run in a node."""
    if find(program) is None:
        raise PreflightError(f"no program {program!r} on this machine; {_remedy(program)}")


def _remedy(program: str) -> str:
    if program not in _PACKAGES:
        return "install it, or give its path"
    command = f"run: sudo apt-get install -y {_PACKAGES[program]}"
    if program not in _SERVICES:
        return command
    return f"{command} (which starts one outside of the lab, too; to end that: sudo systemctl disable --now {program})"


def require_resources(engine: Engine, connections: int, *, tls: bool = False) -> None:
    """Memory, open files and descriptors for so many connections at a time, before the first packet."""
    _, descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
    resources = Resources.of(_MEMORY.read_text(encoding="utf-8"), _OPEN_FILES.read_text(encoding="utf-8"), descriptors)
    most = most_connections(engine, resources, tls=tls)
    if connections > most:
        raise PreflightError(
            f"{connections:,} connections at a time are more than this machine has the means for with the {engine} "
            f"engine{' and TLS' if tls else ''}: {most:,} fit ({resources.memory_bytes >> 20:,} MiB of memory are "
            f"available, {resources.files:,} more open files, {descriptors:,} descriptors for each process); "
            f"ask for fewer{', or for --engine packet' if engine == 'socket' else ''}"
        )


def available_memory_bytes() -> int:
    """Memory that can be had without swapping: the kernel's own estimate (proc(5), MemAvailable)."""
    return Resources.of(_MEMORY.read_text(encoding="utf-8"), _OPEN_FILES.read_text(encoding="utf-8"), 0).memory_bytes


def require_descriptors(count: int, of_what: str) -> None:
    """Room for so many things that take a descriptor each: the limit is raised as far as this process may raise it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = sum(1 for _ in Path("/proc/self/fd").iterdir()) + _OTHER_DESCRIPTORS
    if taken + count > hard:
        raise PreflightError(
            f"{count:,} {of_what} are more than this process may have descriptors for: {max(hard - taken, 0):,} fit "
            f"(its limit is {hard:,}, `ulimit -Hn`); raise it to at least {taken + count:,} as root, in the shell that "
            f"starts the lab: ulimit -n {taken + count}"
        )
    if taken + count > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken + count, hard))


def require_address_space(namespaces: int) -> None:
    """Room for a thread in each namespace, where `ulimit -v` bounds it.

    Without it a thread that cannot begin, or a library that gets no memory, may leave others waiting for ever.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    needed = _ADDRESS_SPACE_BYTES + namespaces * _ADDRESS_SPACE_OF_THREAD_BYTES
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise PreflightError(
            f"a lab of {namespaces:,} namespaces needs {needed >> 10:,} KiB of address space; this process may have "
            f"{limit >> 10:,} (ulimit -v); raise it in the shell that starts the lab: ulimit -v unlimited"
        )


def find(program: str) -> str | None:
    """The path of a program; None where there is none."""
    return shutil.which(program, path=search_path())


def search_path() -> str:
    """`PATH`, and the directories of system programs beside those that it has: su without a dash leaves them out.

    A `PATH` with neither /usr/bin nor /bin stays as it is: programs of the system are not wanted there.
    """
    given = os.environ.get("PATH", os.defpath).split(":")
    system = (directory for beside, directory in _SYSTEM_DIRECTORIES.items() if beside in given)
    return ":".join(dict.fromkeys((*given, *system)))


def _have_netfilter_loaded() -> None:
    """Ask what is not there yet: the kernel loads the module of a subsystem by itself when it is asked for.

    Who has a sandbox may do that, and may not load modules (nfnetlink_rcv_msg, modules.alias: nfnetlink-subsys-N).
    """
    from lab.kernel.netfilter.messages import Subsystem, ask  # noqa: PLC0415  # where it is there, nobody needs it

    for subsystem in (Subsystem.CONNTRACK, Subsystem.LOG):
        with suppress(OSError):  # the question makes no sense, which the subsystem says once it is there
            list(ask(subsystem, 0xFF, b"", dump=False))


def _require_feature(there: Path, module: str, feature: str) -> None:
    if there.exists():
        return
    if modprobe := find("modprobe"):
        subprocess.run([modprobe, module], capture_output=True, check=False)
    if not there.exists():
        _have_netfilter_loaded()
    if not there.exists():
        raise PreflightError(
            f"this kernel has no {feature}; run: sudo modprobe {module}, or boot the distribution's own kernel"
        )
