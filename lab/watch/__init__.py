"""What a lab looks like from one moment to the next: levels, rates, and a view of them. Pure."""

from __future__ import annotations

from lab.watch.occupancy import Level, levels, occupancies
from lab.watch.pace import Pace
from lab.watch.screen import line, screen
from lab.watch.view import Gauge, Rates, View, Window, view

__all__ = [
    "Gauge",
    "Level",
    "Pace",
    "Rates",
    "View",
    "Window",
    "levels",
    "line",
    "occupancies",
    "screen",
    "view",
]
