"""Lines of the traffic generator as values."""

from __future__ import annotations

from dataclasses import asdict
import json

import pytest

from lab.kernel.generator_events import Connected, Ended, Event, Failed, Packet, Progress, event_of
from tests.support.bursts import seen
from traffic.packet_record import PacketRecord

RESULT = seen(30, 10)
SIGHTING = PacketRecord(0.25, "natgw", "inet", "out", 1, "198.51.100.1:1024", "203.0.113.10:443", "SYN", 60, "asks")
PROGRESS = Progress(t_s=0.5, offered=40, answered=40, established=30, timed_out=4, settled=34, open=30)


@pytest.mark.parametrize(
    ("name", "values", "event"),
    [
        ("progress", {**asdict(PROGRESS), "refused": 1}, PROGRESS),
        ("packet", SIGHTING.to_json(), Packet(SIGHTING)),
        ("connected", {"result": RESULT.to_json()}, Connected(RESULT)),
        ("error", {"message": "no memory"}, Failed("no memory")),
        ("closed", {"closed": 30, "abandoned": 0, "reset": 2, "closed_by_server": 3, "t_s": 0.1}, Ended(2, 3, 30)),
        ("left", {"established": 30, "reset": 1, "closed_by_server": 0, "closed_before": 4}, Ended(1, 0, 0, 4)),
        ("aborted", {"resets": 30, "t_s": 0.1}, Ended()),
    ],
)
def test_event(name: str, values: dict[str, object], event: Event) -> None:
    """Each event that the generator emits is read as the value that it stands for."""
    assert event_of(json.dumps({"event": name, **values}) + "\n") == event


def test_unknown_event() -> None:
    """An event that nobody knows is an error, not silence: generator and lab are of one version."""
    with pytest.raises(ValueError, match="unknown event 'confused' of the traffic generator"):
        event_of('{"event": "confused"}')
