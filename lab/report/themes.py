"""Colours of figures and page, light and dark, and what lines look like where there are no colours. Pure.

The series colours are told apart with every kind of colour vision (after Okabe and Ito, Color Universal Design, 2008),
darker on white and lighter on black than theirs, for a contrast of 3:1 and more with the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["DARK", "DASHES", "HATCHES", "LIGHT", "ROLES", "SENTINELS", "Palette", "role_of"]

Palette = Mapping[str, str]
"""Name → `#rrggbb`."""

LIGHT: Palette = MappingProxyType(
    {
        "paper": "#ffffff",
        "raised": "#f5f7f9",
        "ink": "#1c2127",
        "faint": "#57606a",
        "rule": "#d3d9df",
        "good": "#00704d",
        "bad": "#c0341a",
        "warn": "#8a5a00",
        "link": "#0060a8",
        "s1": "#0060a8",
        "s2": "#b86200",
        "s3": "#00805a",
        "s4": "#a03a8c",
        "s5": "#2f8fc8",
        "s6": "#8a6d00",
        "s7": "#57606a",
        "s8": "#c0341a",
    }
)

DARK: Palette = MappingProxyType(
    {
        "paper": "#11161c",
        "raised": "#1a2129",
        "ink": "#e8edf2",
        "faint": "#a3aeb9",
        "rule": "#36404a",
        "good": "#45c795",
        "bad": "#ff7d5e",
        "warn": "#f0b440",
        "link": "#62b8ee",
        "s1": "#62b8ee",
        "s2": "#f0a33a",
        "s3": "#45c795",
        "s4": "#e293cf",
        "s5": "#9ad4f5",
        "s6": "#e6d560",
        "s7": "#a3aeb9",
        "s8": "#ff7d5e",
    }
)

SENTINELS: Palette = MappingProxyType({name: f"#f0e1{index:02x}" for index, name in enumerate(LIGHT)})
"""Colours that nothing else has: figures are drawn with them, and then each becomes a variable of the page."""

ROLES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {"good": ("good", "-"), "bad": ("bad", "--"), "muted": ("faint", ":"), "first": ("s1", "-")}
)
"""What a line means → its colour and dashes."""

HATCHES: Mapping[str, str] = MappingProxyType({"muted": "/////", "first": "/////"})
"""What a bar means → its stripes."""

DASHES = ("-", "--", "-.", ":")


def role_of(role: str, index: int) -> tuple[str, str]:
    """Colour and dashes of a line by its role, or by its place among others; they repeat after eight."""
    return ROLES.get(role) or (f"s{index % 8 + 1}", DASHES[index % len(DASHES)])
