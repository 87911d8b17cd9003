"""nftables rulesets, through `nft -f -`: the text in a plan is the text that the kernel gets."""

from __future__ import annotations

import subprocess

from lab.kernel.namespaces import Inside, Namespaces
from lab.kernel.preflight import find
from lab.plan.objects import Ruleset

__all__ = ["apply_ruleset", "flush_sets"]


def apply_ruleset(namespaces: Namespaces, ruleset: Ruleset) -> None:
    """Load a ruleset, all of it or nothing: nft sends one transaction."""
    namespaces[ruleset.namespace].run(_nft, ruleset.text)


def flush_sets(inside: Inside, table: str, sets: tuple[str, ...]) -> None:
    """Empty sets of a table."""
    inside.run(_nft, "".join(f"flush set ip {table} {name}\n" for name in sets))


def _nft(text: str) -> None:
    done = subprocess.run(
        [find("nft") or "nft", "-f", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise OSError(0, done.stderr.strip() or f"nft ended with status {done.returncode}")
