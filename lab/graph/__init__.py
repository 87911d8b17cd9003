"""A topology as a drawing: text, Mermaid, DOT and SVG. Pure."""

from __future__ import annotations

from lab.graph.dot import to_dot
from lab.graph.drawing import Drawing, Occupancy, draw
from lab.graph.mermaid import to_mermaid
from lab.graph.svg import to_svg
from lab.graph.text import to_text

__all__ = ["Drawing", "Occupancy", "draw", "to_dot", "to_mermaid", "to_svg", "to_text"]
