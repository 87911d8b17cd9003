"""Files that the user names: whose rights count, what a link leads to, what is there after a refusal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import pwd
import stat
from tempfile import TemporaryDirectory

import pytest

from lab.errors import UsageError
from lab.kernel.outputs import open_output, require_writable, write_output

NOBODY = pwd.getpwnam("nobody")
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

WRITERS: tuple[Callable[[Path], object], ...] = (
    lambda path: write_output("-o", path, b"new"),
    lambda path: os.close(open_output("-o", path)),
    lambda path: require_writable("-o", path),
)
by_each_writer = pytest.mark.parametrize("write", WRITERS, ids=("write", "open", "require"))


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory in which every user may make files."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@by_each_writer
def test_a_link_is_refused(place: Path, write: Callable[[Path], object]) -> None:
    """What a link leads to stays as it is, and so does a link that leads nowhere."""
    (place / "precious").write_text("precious")
    for name, target in (("link", "precious"), ("dangling", "nothing")):
        (place / name).symlink_to(place / target)
        with pytest.raises(UsageError, match=rf"^-o {place}/{name}: cannot be written: it is a symbolic link; give an"):
            write(place / name)
    assert (place / "precious").read_text() == "precious"
    assert sorted(each.name for each in place.iterdir()) == ["dangling", "link", "precious"]


@ROOT_ONLY
@by_each_writer
def test_the_invoking_users_rights_count(
    place: Path, write: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the user may not write, root does not either; what is made is the user's from the beginning."""
    monkeypatch.setenv("SUDO_UID", str(NOBODY.pw_uid))
    write(place / "theirs")
    assert {each.stat().st_uid for each in place.iterdir()} <= {NOBODY.pw_uid}
    (place / "roots").mkdir(mode=0o755)
    with pytest.raises(UsageError, match="Permission denied"):
        write(place / "roots" / "file")
    assert not list((place / "roots").iterdir())


def test_a_file_is_replaced_as_a_whole(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another name of the old file keeps the old text; the mode stays; a refusal half-way leaves all as it was."""
    file = place / "file"
    file.write_text("old")
    file.chmod(0o640)
    os.link(file, place / "other name")
    write_output("-o", file, b"new")
    assert (file.read_text(), (place / "other name").read_text()) == ("new", "old")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fchmod", refuse)
    with pytest.raises(UsageError, match="No space left on device"):
        write_output("-o", file, b"newer")
    assert file.read_text() == "new"
    assert len(list(place.iterdir())) == 2


def test_pipes_and_descriptors_of_this_process_are_written_into(place: Path) -> None:
    """A FIFO has what was written, and /dev/fd/N is the descriptor as it is: what was written before stays."""
    reader, writer = os.pipe()
    os.write(writer, b"before ")
    write_output("-o", f"/dev/fd/{writer}", b"after")
    assert os.read(reader, 100) == b"before after"
    for descriptor in (reader, writer):
        os.close(descriptor)
    os.mkfifo(place / "fifo")
    reading = os.open(place / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    require_writable("-o", place / "fifo")
    write_output("-o", place / "fifo", b"through")
    assert os.read(reading, 100) == b"through"
    os.close(reading)
