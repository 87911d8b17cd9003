"""What root lacks in a container without privileges is told before the first step, with the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.command import run_lab
from tests.support.machine import require_machine

TINY = Path(__file__).parents[2] / "topologies" / "tiny.yaml"

_READ_ONLY = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys"
_NO_RUN = "mount -t tmpfs -o ro none /run"


def _after(mounts: str) -> tuple[str, ...]:
    """What runs a command in a mount namespace of its own, where these mounts are made before."""
    return ("unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh")


@pytest.mark.parametrize(
    ("through", "lack"),
    [
        (("setpriv", "--bounding-set=-net_admin,-sys_admin"), "root without CAP_NET_ADMIN, CAP_SYS_ADMIN"),
        (_after(_READ_ONLY), "/proc/sys, by which namespaces get their settings, is read-only"),
        (_after(_NO_RUN), "/run/netns, where namespaces have their names, cannot be made"),
    ],
    ids=["capabilities", "read-only settings", "no directory of namespaces"],
)
def test_a_lack_of_privileges(through: tuple[str, ...], lack: str) -> None:
    """Exit status 3, what is lacking, and how a container gets it; nothing is left behind."""
    require_machine("unshare", "setpriv")
    ended = run_lab("up", TINY, "--name", "test-contained", through=through)
    assert ended.status == 3
    assert lack in ended.stderr
    assert "start that with --privileged" in ended.stderr
    assert not Path("/run/netns/lab-test-contained-vpc").exists()
