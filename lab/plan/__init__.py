"""From a topology to the kernel objects that make it: pure, deterministic, printable."""

from lab.plan.build import build
from lab.plan.describe import describe
from lab.plan.objects import Plan

__all__ = ["Plan", "build", "describe"]
