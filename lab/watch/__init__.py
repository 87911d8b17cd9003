"""What a lab looks like from one moment to the next: levels, rates, and a view of them. Pure."""

from __future__ import annotations

from lab.watch.occupancy import Level, levels, occupancies

__all__ = ["Level", "levels", "occupancies"]
