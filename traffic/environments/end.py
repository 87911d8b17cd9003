"""`python -m traffic end`: end what is left of environments whose supervisor was killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traffic.environments.freezer import end_all

if TYPE_CHECKING:
    from traffic.environments.spec import EndSpec

__all__ = ["run"]


def run(spec: EndSpec) -> None:
    """End all; OSError if that is refused."""
    end_all(spec.environments, spec.isolation)
