"""Topology files: the text of anybody who sends one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
import re
from tempfile import TemporaryDirectory

from lab.errors import LabError, TopologyError
from lab.nodes.build import build
from lab.plan.names import ETC_NETNS
from lab.plan.objects import File, Namespace, Plan, plan_to_json
from lab.topology.loader import loaded, text_of
from tests.support.topologies import SHIPPED
from tests.trust.mutation import bytes_changed, either, yaml_changed
from tests.trust.targets.target import Reader, Target, require_tame

__all__ = ["TARGET", "seeds"]

_FAULT = re.compile(r"topology\.yaml:\d+:\d+: ")


def seeds() -> Sequence[bytes]:
    """What ships, without comments."""
    return [re.sub(r"(?m)^ *#.*\n", "", path.read_text(encoding="utf-8")).encode() for path in SHIPPED]


@contextmanager
def _reader() -> Iterator[Reader]:
    with TemporaryDirectory() as directory:
        path = Path(directory, "topology.yaml")

        def read(data: bytes) -> None:
            path.write_bytes(data)
            try:
                found = loaded(text_of(path), path.name)
            except TopologyError as refused:
                for line in str(refused).replace(f"{path}:", f"{path.name}:").split("\n"):
                    assert _FAULT.match(line), line
                    require_tame(line)
                return
            for line in found.without_effect:
                require_tame(line)
            try:
                plan = build(found.topology)
            except LabError as refused:
                require_tame(str(refused).replace("\n", " "))
            else:
                _require_own(plan)

        yield read


def _require_own(plan: Plan) -> None:
    """What the kernel, nft and files get of a topology is the lab's own, whatever it is named."""
    prefix = f"lab-{plan.lab}-"
    assert re.fullmatch("[a-z0-9-]{1,40}", plan.lab), plan.lab
    for item in plan.objects:
        if isinstance(item, Namespace):
            assert re.fullmatch(f"{prefix}[a-z0-9-]+", item.name), item
        elif isinstance(item, File):
            path = Path(item.path)
            assert path.parent.parent == ETC_NETNS, item
            assert path.parent.name.startswith(prefix), item
    require_tame(plan_to_json(plan).replace("\n", " "))


TARGET = Target("topology", "topology files", seeds, either(yaml_changed, yaml_changed, bytes_changed), _reader)
