"""A ruleset in the place of another: what is kept, what is deleted, what is made anew."""

from __future__ import annotations

import pytest

from lab.nodes.build import build
from lab.plan.objects import Ruleset
from lab.slots.definitions import definitions, marks_of, replacement, sets_lost
from tests.support.topologies import shipped

OLD = """\
table ip t {
  set held { type ipv4_addr; size 5; flags dynamic,timeout; timeout 9s; gc-interval 250ms; }
  set other { type ipv4_addr; size 5; flags dynamic; }
  counter seen { }
  chain held_track {
    update @held { ip saddr } accept
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct mark & 0xffff vmap { 0x11 : goto held_track }
  }
}
"""


def tiny(node: str) -> str:
    """The ruleset of a node of the tiny topology."""
    return next(
        each.text
        for each in build(shipped("tiny")).objects
        if isinstance(each, Ruleset) and each.namespace == f"lab-tiny-{node}"
    )


def test_definitions() -> None:
    """A table's chains, sets and counters, by kind, name and what cannot change of them."""
    found = definitions(OLD)
    assert (found.family, found.table) == ("ip", "t")
    assert found.sizes == {"held": 5, "other": 5}
    assert found.parts == {
        ("set", "held"): "type ipv4_addr; flags dynamic,timeout; }",
        ("set", "other"): "type ipv4_addr; flags dynamic; }",
        ("counter", "seen"): "",
        ("chain", "held_track"): "",
        ("chain", "forward"): "type filter hook forward priority filter; policy drop;",
    }


def test_a_plan_has_one_table_in_a_text() -> None:
    """Anything else is no ruleset of a plan, and not taken for one."""
    with pytest.raises(ValueError, match="one table, not 2"):
        definitions(OLD + OLD)


@pytest.mark.parametrize("node", ["eni-private-a", "natgw"])
def test_every_limiter_of_a_plan_is_defined_with_its_size_and_mark(node: str) -> None:
    """The parser sees each set that a limiter of a real plan has, and each has a mark of its own."""
    plan, text = build(shipped("tiny")), tiny(node)
    limiters = [each for each in plan.limiters if each.node == node]
    assert {each.slots: each.limit for each in limiters}.items() <= definitions(text).sizes.items()
    marks = marks_of(text)
    assert marks.keys() == {each.slots for each in limiters}
    assert len(set(marks.values())) == len(marks)


def test_what_is_the_same_is_only_written_again() -> None:
    """A transaction for no change flushes the rules and writes them again; it deletes nothing."""
    assert replacement(OLD, OLD) == f"flush table ip t\n{OLD}"
    assert sets_lost(OLD, OLD) == frozenset()


def test_a_set_of_another_size_or_timeout_is_kept() -> None:
    """Size, timeout and interval change in place."""
    new = OLD.replace("size 5", "size 50").replace("9s", "8s").replace("250ms", "1s")
    assert "delete" not in replacement(OLD, new)
    assert sets_lost(OLD, new) == frozenset()


def test_what_is_gone_is_deleted_after_the_new_text() -> None:
    """A chain goes before the set that it names."""
    new = OLD.replace("  set other { type ipv4_addr; size 5; flags dynamic; }\n", "").replace("held_track", "kept")
    assert replacement(OLD, new).endswith("}\ndelete chain ip t held_track\ndelete set ip t other\n")
    assert sets_lost(OLD, new) == {"other"}


def test_what_cannot_become_another_thing_is_made_anew() -> None:
    """A set of another type and a base chain at another hook are deleted before the new text, with what they hold."""
    new = OLD.replace("held { type ipv4_addr;", "held { type inet_service;").replace("hook forward", "hook input")
    deletions = "flush table ip t\ndelete chain ip t forward\ndelete set ip t held\n"
    assert replacement(OLD, new) == deletions + new
    assert sets_lost(OLD, new) == {"held"}


def test_a_set_that_is_to_forget() -> None:
    """A set is made anew on request."""
    assert replacement(OLD, OLD, rebuilt={"held"}) == f"flush table ip t\ndelete set ip t held\n{OLD}"
    assert marks_of(OLD) == {"held": 0x11}
