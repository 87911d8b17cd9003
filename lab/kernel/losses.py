"""What is missing of a lab that is up. It reads /run/netns and /proc and needs no netlink, so it is there at once."""

from __future__ import annotations

from lab.kernel.netns import exists
from lab.kernel.processes import processes_in
from lab.plan.objects import Plan, Process

__all__ = ["lost"]


def lost(plan: Plan) -> list[str]:
    """What the plan of a lab has and this machine has not: namespaces that were deleted, processes that ended."""
    gone = [f"namespace {name}" for name in plan.namespaces if not exists(name)]
    running = {process.namespace for process in processes_in(plan.namespaces) if process.ours}
    started = [item for item in plan.objects if isinstance(item, Process)]
    return gone + [f"its {item.verb} process" for item in started if item.namespace not in running]
