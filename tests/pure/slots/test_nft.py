"""A table in the place of another: what is kept, what is deleted, what is made anew."""

from __future__ import annotations

import pytest

from lab.nodes.build import build
from lab.plan.objects import Ruleset
from lab.slots.nft import Counter, Set, Table, chain, replacement, sets_lost, table
from tests.support.topologies import shipped

HELD = Set("held", "ipv4_addr", 5, timeout="9s", gc_interval="250ms", mark=0x11)
OTHER = Set("other", "ipv4_addr", 5)
SEEN = Counter("seen")
TRACK = chain("held_track", "update @held { ip saddr } accept")


def forward(hook: str = "forward") -> Table:
    """A table with a base chain at a hook."""
    rule = "ct mark & 0xffff vmap { 0x11 : goto held_track }"
    hooked = chain("forward", rule, hook=f"type filter hook {hook} priority filter; policy drop;")
    return table("t", HELD, OTHER, SEEN, TRACK, hooked)


OLD = forward()

OLD_TEXT = """\
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


def tiny(node: str) -> Table:
    """The table of a node of the tiny topology."""
    return next(
        item.table
        for item in build(shipped("tiny")).objects
        if isinstance(item, Ruleset) and item.namespace == f"lab-tiny-{node}"
    )


def test_text() -> None:
    """Each part stands in a table as nft reads it."""
    assert OLD.text == OLD_TEXT


@pytest.mark.parametrize("node", ["eni-private-a", "natgw"])
def test_every_limiter_of_a_plan_is_defined_with_its_size_and_mark(node: str) -> None:
    """A table has the set that each limiter of a real plan names, as large as its limit, with a mark of its own."""
    plan, found = build(shipped("tiny")), tiny(node)
    limiters = [limiter for limiter in plan.limiters if limiter.node == node]
    sizes = {name: slots.size for name, slots in found.sets.items()}
    assert {limiter.slots: limiter.limit for limiter in limiters}.items() <= sizes.items()
    assert found.marks.keys() == {limiter.slots for limiter in limiters}
    assert len(set(found.marks.values())) == len(found.marks)


def test_what_is_the_same_is_only_written_again() -> None:
    """A transaction for no change flushes the rules and writes them again; it deletes nothing."""
    assert replacement(OLD, OLD) == f"flush table ip t\n{OLD_TEXT}"
    assert sets_lost(OLD, OLD) == frozenset()


def test_a_set_of_another_size_or_timeout_is_kept() -> None:
    """Size, timeout and interval change in place."""
    larger = Set("held", "ipv4_addr", 50, timeout="8s", gc_interval="1s", mark=0x11)
    new = table("t", larger, *OLD.parts[1:])
    assert "delete" not in replacement(OLD, new)
    assert sets_lost(OLD, new) == frozenset()


def test_what_is_gone_is_deleted_after_the_new_text() -> None:
    """A chain goes before the set that it names."""
    new = table("t", HELD, SEEN, chain("kept", *TRACK.rules))
    assert replacement(OLD, new).endswith(
        "}\ndelete chain ip t held_track\ndelete chain ip t forward\ndelete set ip t other\n"
    )
    assert sets_lost(OLD, new) == {"other"}


def test_what_cannot_become_another_thing_is_made_anew() -> None:
    """A set of another type and a base chain at another hook are deleted before the new text, with what they hold."""
    new = table("t", Set("held", "inet_service", 5, timeout="9s"), *forward("input").parts[1:])
    deletions = "flush table ip t\ndelete chain ip t forward\ndelete set ip t held\n"
    assert replacement(OLD, new) == deletions + new.text
    assert sets_lost(OLD, new) == {"held"}


def test_a_counter_of_other_rules_counts_anew() -> None:
    """What a network ACL dropped before its entries were changed says nothing of those that it has now."""
    before, after = (
        table("t", Counter("acl", rules), SEEN, chain("acl", *rules)) for rules in (("drop",), ("return", "drop"))
    )
    assert replacement(before, after) == f"flush table ip t\ndelete counter ip t acl\n{after.text}"
    assert "delete" not in replacement(after, after)


def test_a_set_that_is_to_forget() -> None:
    """A set is made anew on request."""
    assert replacement(OLD, OLD, rebuilt={"held"}) == f"flush table ip t\ndelete set ip t held\n{OLD_TEXT}"


def test_another_table_is_no_replacement() -> None:
    """Two tables live side by side: one does not become the other."""
    with pytest.raises(ValueError, match="table t cannot become table u"):
        replacement(OLD, table("u"))
