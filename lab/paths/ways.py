"""The names that paths had; they go when nobody asks for them."""

from __future__ import annotations

from lab.paths.dead_ends import DeadEnd
from lab.paths.path import Path as Way
from lab.paths.routes import exit_nodes, exit_of
from lab.paths.routes import paths as ways

__all__ = ["DeadEnd", "Way", "exit_nodes", "exit_of", "ways"]
