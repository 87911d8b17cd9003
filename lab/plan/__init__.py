"""The plan: a topology as an ordered list of kernel objects, pure and printable; `lab.nodes.build` makes it."""

from lab.plan.describe import describe
from lab.plan.objects import Plan

__all__ = ["Plan", "describe"]
