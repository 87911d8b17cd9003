"""The one host-wide setting: raised while a lab needs it, put back after the last, and never against anybody else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lab.errors import PreflightError
from lab.kernel.sysctl import ConntrackMaxKeeper

FOUND = 262_144


@pytest.fixture
def keeper(tmp_path: Path) -> ConntrackMaxKeeper:
    """A keeper of a file that looks like the kernel's."""
    setting = tmp_path / "nf_conntrack_max"
    setting.write_text(f"{FOUND}\n")
    return ConntrackMaxKeeper(tmp_path / "state" / "record.json", setting)


def value(keeper: ConntrackMaxKeeper) -> int:
    """What the setting is now."""
    return int(keeper.setting.read_text())


def somebody_sets(keeper: ConntrackMaxKeeper, entries: int) -> None:
    """An administrator has an opinion."""
    keeper.setting.write_text(f"{entries}\n")


def test_large_enough(keeper: ConntrackMaxKeeper) -> None:
    """A lab that fits changes nothing, leaves no record, and has nothing to put back."""
    assert keeper.need("small", FOUND) is None
    assert not keeper.record.exists()
    assert keeper.release("small") is None
    assert value(keeper) == FOUND


def test_raise_and_restore(keeper: ConntrackMaxKeeper) -> None:
    """A lab that needs more has it while it is up; both changes are told."""
    assert keeper.need("large", 900_000) == (FOUND, 900_000)
    assert value(keeper) == 900_000
    assert keeper.release("large") == (900_000, FOUND)
    assert value(keeper) == FOUND
    assert not keeper.record.exists()


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
@pytest.mark.parametrize(("a", "b"), [(500_000, 900_000), (900_000, 500_000), (900_000, 100)])
def test_two_labs(keeper: ConntrackMaxKeeper, a: int, b: int, order: tuple[str, str]) -> None:
    """With two labs up there is room for the larger, and whichever goes last restores the value found."""
    keeper.need("a", a)
    keeper.need("b", b)
    assert value(keeper) == max(a, b)
    first, last = order
    assert keeper.release(first) is None
    assert value(keeper) >= {"a": a, "b": b}[last]
    assert keeper.release(last) == (max(a, b), FOUND)
    assert value(keeper) == FOUND


def test_release_twice(keeper: ConntrackMaxKeeper) -> None:
    """A lab that is released twice, or never needed anything, takes nothing from the others."""
    keeper.need("a", 900_000)
    assert keeper.release("stranger") is None
    keeper.release("a")
    somebody_sets(keeper, 300_000)
    assert keeper.release("a") is None
    assert value(keeper) == 300_000


def test_need_twice(keeper: ConntrackMaxKeeper) -> None:
    """A lab that asks again, as after a crash, is still one lab, and the value found is still the first one."""
    keeper.need("a", 900_000)
    assert keeper.need("a", 900_000) is None
    assert keeper.release("a") == (900_000, FOUND)


@pytest.mark.parametrize("theirs", [300_000, 2_000_000])
def test_somebody_else_changed_it(keeper: ConntrackMaxKeeper, theirs: int) -> None:
    """A value that somebody set while the lab was up is theirs, and stands."""
    keeper.need("a", 900_000)
    somebody_sets(keeper, theirs)
    assert keeper.release("a") is None
    assert value(keeper) == theirs
    assert not keeper.record.exists()


def test_somebody_else_changed_it_between_two_labs(keeper: ConntrackMaxKeeper) -> None:
    """What somebody set between two labs is what the last one restores."""
    keeper.need("a", 500_000)
    somebody_sets(keeper, 600_000)
    assert keeper.need("b", 900_000) == (600_000, 900_000)
    keeper.release("a")
    assert keeper.release("b") == (900_000, 600_000)


def test_somebody_else_made_room_between_two_labs(keeper: ConntrackMaxKeeper) -> None:
    """Room that somebody made between two labs, enough for the second, is not taken away after it."""
    keeper.need("a", 500_000)
    somebody_sets(keeper, 2_000_000)
    assert keeper.need("b", 900_000) is None
    keeper.release("b")
    keeper.release("a")
    assert value(keeper) == 2_000_000


def test_somebody_else_lowered_it_between_two_labs(keeper: ConntrackMaxKeeper) -> None:
    """A second, smaller lab has the setting raised again to what the first one needs."""
    keeper.need("a", 900_000)
    somebody_sets(keeper, FOUND)
    keeper.need("b", 500_000)
    assert value(keeper) == 900_000


def test_killed_before_the_write(keeper: ConntrackMaxKeeper) -> None:
    """A record whose value was never written restores nothing."""
    keeper.need("a", 900_000)
    somebody_sets(keeper, FOUND)
    assert keeper.release("a") is None
    assert value(keeper) == FOUND


def test_a_setting_that_is_not_ones_own(tmp_path: Path) -> None:
    """In a container's own network it cannot be written, as this one cannot anywhere: the error has the remedies."""
    fixed = ConntrackMaxKeeper(tmp_path / "record.json", Path("/proc/sys/kernel/ngroups_max"))
    with pytest.raises(PreflightError, match=r"lab up --scale 6; for all of it, .* -w .*_max=131073, or start"):
        fixed.need("large", 131_073, scale=2)


@pytest.mark.parametrize(
    "text", ["", "{", "[1]", '{"found": 1}', '{"found": 1e999, "set": 1, "labs": {}}', "[" * 100_000]
)
def test_a_damaged_record_is_told_and_stops_nobody(keeper: ConntrackMaxKeeper, text: str) -> None:
    """What was found is not known any more: it is said, the setting stays, and what comes later is remembered anew."""
    keeper.need("large", 900_000)
    said: list[str] = []
    keeper = replace(keeper, notice=said.append)
    keeper.record.write_text(text)
    assert keeper.release("large") is None
    assert value(keeper) == 900_000
    assert not keeper.record.exists()
    (sentence,) = said
    assert sentence.startswith(f"{keeper.record}: is ")
    assert keeper.need("larger", 1_000_000) == (900_000, 1_000_000)
    assert keeper.release("larger") == (1_000_000, 900_000)


def test_what_cannot_be_put_back_is_not_forgotten(keeper: ConntrackMaxKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `down` that may not write the setting, or is killed before, leaves it to the next one."""
    keeper.need("large", 900_000)

    def refuse(*_: object, **__: object) -> int:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", refuse)
        with pytest.raises(PermissionError):
            keeper.release("large")
    assert keeper.release("large") == (900_000, FOUND)
    assert value(keeper) == FOUND
