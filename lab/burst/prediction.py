"""What arithmetic says of a burst beforehand, in a lab that holds connections already. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from lab.burst.result import SourceResult
from lab.burst.spec import Participants
from lab.capacity.predict import FunctionPrediction, InUse, Prediction, predict
from lab.capacity.shares import Shares
from lab.observe.readings import Reading
from lab.paths.path import Scope

__all__ = ["prediction"]


def prediction(
    participants: Participants,
    before: Iterable[Reading],
    first_turns: Sequence[int] = (),
    asking: int = 0,
    source: SourceResult | None = None,
    *,
    slots_of_closed: int = 0,
) -> Prediction:
    """What a burst will show of whose sources the connections begin with these turns (`PortBlocks`) of their ENIs.

    Of one source as many connections to the name server as are `asking` are there already. Limiters hold slots of so
    many closed connections of a client, whose ports its kernel may use again.

    Of a load over time as far as arithmetic says how many connections there are at once.
    """
    load, descriptors = participants.load, participants.descriptors
    may_lack = participants.lack_descriptors
    holds_s = {limiter.port_hold_s for limiter in participants.limiters}
    at_once = load.at_once(max(holds_s, default=0)) if len(holds_s) <= 1 or not load.over_time else None
    unknown = Prediction(load.connections, None, None, None, (), emfile=None if may_lack else 0)
    if at_once is None or (load.over_time and may_lack):
        return unknown
    if reason := _throttling(participants, at_once):
        return replace(unknown, unknown=reason)
    predicted = predict(
        participants.topology,
        at_once,
        source=participants.sources,
        server=participants.server.name,
        protocol=load.protocol,
        in_use=_in_use(participants, before, source),
        first_connections=[
            turn * len(fleet.paths) for turn, fleet in zip(first_turns, participants.fleets, strict=False)
        ],
        connect_timeout_s=load.connect_timeout_s,
        look_ups=_look_ups(participants),
        questions_each=load.look_up.questions,
        per_environment=participants.blocks.per_environment,
        descriptors=descriptors.connections if descriptors else None,
        asking=asking,
    )
    if slots_of_closed and any(load.refused and load.node != participants.source.node for load in predicted.limiters):
        predicted = replace(unknown, unknown=_USED_AGAIN.format(f"{slots_of_closed:,}"))
    if load.paced and (predicted.emfile != 0 or predicted.throttled) and predicted.drop_threshold is not None:
        # What times out meanwhile gives its descriptor back, and ends its invocation.
        reason = "what is lost makes room for what comes later: how many are throttled is not known"
        return replace(unknown, unknown=reason if predicted.throttled else None)
    if not load.over_time or predicted.bottleneck is None:
        if predicted.unknown or at_once == load.connections or load.reuse:
            return replace(predicted, offered=load.connections)
        return replace(
            predicted, offered=load.connections, established=load.connections, functions=tuple(_each(participants))
        )
    # Retries succeed as others close. With a port hold, the rate says how many are open when the limit is reached.
    threshold = None if any(holds_s) else predicted.drop_threshold
    return replace(predicted, offered=load.connections, established=None, drop_threshold=threshold, functions=())


_USED_AGAIN = (
    "limits hold {} slots of closed connections of the client, whose ports its kernel may use again, and these take no "
    "slot of their own: which ones it does is chance"
)


def _throttling(participants: Participants, at_once: int) -> str | None:
    """Why it is not known how many are throttled, of a load whose invocations end while others come.

    By Little's law so many are under way as come in the time that one takes, which the network has a part in.
    """
    shares = Shares(len(participants.sources))
    for place, (function, most) in enumerate(zip(participants.sources, participants.reserved, strict=True)):
        under_way = shares.of(place, at_once)
        if participants.load.over_time and most is not None and under_way > most:
            return (
                f"some {under_way:,} invocations of {function} may be under way at a time, more than its reserved "
                f"concurrency of {most:,}: how many are throttled depends on how long each takes"
            )
    return None


def _each(participants: Participants) -> Iterator[FunctionPrediction]:
    """All that each function offers is established, over time."""
    shares = Shares(len(participants.sources))
    for place, function in enumerate(participants.sources):
        share = shares.of(place, participants.load.connections)
        yield FunctionPrediction(function, share, 0, share)


def _look_ups(participants: Participants) -> int:
    """How many take slots or count for a quota; a port that is used again asks again, and takes no other slot."""
    if participants.load.syn_only:
        return 0
    quota = participants.topology.service_vpc.resolver.packets_per_second
    return participants.connections if quota is None else participants.load.connections


def _in_use(participants: Participants, readings: Iterable[Reading], source: SourceResult | None) -> InUse:
    """Slots and ports taken of a limit; a further ENI that has appeared counts as free slots: a sum may be negative."""
    used: Counter[Scope] = Counter()
    for path, room in zip(participants.paths, (source and source.rooms) or (), strict=False):
        _, own = next(iter(path.limits))
        used[own.scope] = own.limit.size - room
    addresses = participants.server.addresses
    answers: dict[str | None, int] = {str(address): number for number, address in enumerate(addresses)}
    for reading in readings:
        if reading.appeared:
            limiter = reading.limiter
            scope = Scope(limiter.place, limiter.destination, answers.get(limiter.address), limiter.client)
            used[scope] += reading.in_use - (limiter.limit if limiter.of else 0)
    return used.__getitem__
