"""What is missing of a lab that is up. It reads /run/netns and /proc and needs no netlink, so it is there at once."""

from __future__ import annotations

from lab.kernel.netns import exists
from lab.kernel.processes import arguments_of, is_stopped, running
from lab.plan.objects import Plan, Process

__all__ = ["lost"]


def lost(plan: Plan) -> list[str]:
    """What the plan of a lab has and this machine has not: namespaces, and processes that run."""
    started = [item for item in plan.objects if isinstance(item, Process)]
    pids = {process.namespace: process.pid for process in running(plan.namespaces, arguments_of(""))}
    gone = [f"namespace {name}" for name in plan.namespaces if not exists(name)]
    for item in started:
        what, pid = f"the {item.verb} process in {item.namespace}", pids.get(item.namespace)
        if pid is None:
            gone.append(what)
        elif is_stopped(pid):
            gone.append(f"{what} (stopped: sudo kill -CONT {pid})")
    return gone
