"""Where the ports of each function in a burst begin (`lab.burst.ports`), so that no two need the same one. Pure.

Functions with the same subnet and security groups leave by one ENI, whose kernel would have to search for a port where
two environments, one of each, have the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Sequence
from ipaddress import IPv4Address

from lab.burst.ports import first_turn
from lab.burst.spec import Participants
from lab.kernel.bursts import Reserved, UnderWay

__all__ = ["first_turns", "reservations"]

Source = tuple[IPv4Address, int]


def first_turns(
    participants: Participants,
    held: Collection[Source],
    held_elsewhere: Collection[Source] = (),
    others: Iterable[UnderWay] = (),
) -> list[int | None]:
    """The turn from which on each fleet's ports are free, of those held and of those that fleets before it need.

    And of those that other bursts have, which are under way.
    """
    reserved = [each for other in others for each in other.reserved]
    fleets, blocks = participants.fleets, participants.blocks
    found: list[int | None] = []
    for place, fleet in enumerate(fleets):
        beside = [
            (fleets[other].paths[0].first_address, blocks.port((found[other] or 0) + turn))
            for other in range(place)
            if _gateways(participants, other) & _gateways(participants, place)
            for turn in range(_turns_with_a_slot(participants, other))
        ]
        meeting = (each for each in reserved if _gateways(participants, place) & set(each.gateways))
        beside += [source for each in meeting for source in _sources(each, participants)]
        first = first_turn(
            blocks,
            (*fleet.paths, *(path.sockets for path in fleet.paths)),
            (*held, *beside),
            turns=max(participants.turns(place), 1),
            most_turns=participants.most_turns(fleet),
            held_elsewhere=held_elsewhere,
        )
        found.append(first)
    return found


def reservations(participants: Participants, turns: Sequence[int]) -> tuple[Reserved, ...]:
    """What a burst whose fleets begin with these turns has to itself."""
    return tuple(
        Reserved(
            gateways=tuple(sorted(_gateways(participants, place))),
            first_address=str(fleet.paths[0].first_address),
            first_turn=turn,
            turns=participants.turns(place),
            with_a_slot=_turns_with_a_slot(participants, place),
            per_environment=participants.blocks.per_environment,
        )
        for place, (fleet, turn) in enumerate(zip(participants.fleets, turns, strict=True))
    )


def _sources(reserved: Reserved, participants: Participants) -> Iterator[Source]:
    """Its environments, each with its ports, as far as those may hold a slot."""
    first = IPv4Address(reserved.first_address)
    for turn in range(reserved.turns):
        number = reserved.first_turn + turn
        port = participants.blocks.port(number) if turn < reserved.with_a_slot else _NO_PORT
        yield first + number // reserved.per_environment, port


_NO_PORT = 0


def _gateways(participants: Participants, place: int) -> set[str]:
    return {path.gateway for path in participants.paths_of[place]}


def _turns_with_a_slot(participants: Participants, place: int) -> int:
    """How many turns a fleet has had when one of its ENIs has no port left for another, or in all."""
    fleets = range(len(participants.fleets))
    most = 0
    for gateway in _gateways(participants, place):
        sharers = [other for other in fleets if gateway in _gateways(participants, other)]

        def had(rounds: int, other: int) -> int:
            turns = -(-rounds // len(participants.fleets[other].paths))
            return min(turns, participants.turns(other))

        def in_all(rounds: int, sharers: list[int] = sharers) -> int:
            return sum(had(rounds, other) for other in sharers)

        rounds = bisect_right(range(participants.connections + 1), participants.blocks.ports, key=in_all)
        most = max(most, had(rounds, place))
    return most
