"""What arithmetic says of a burst beforehand, in a lab that holds connections already. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from lab.burst.spec import Participants
from lab.capacity.predict import FunctionPrediction, InUse, Prediction, predict
from lab.capacity.shares import Shares
from lab.observe.readings import Reading
from lab.paths.path import Scope

__all__ = ["prediction"]


def prediction(participants: Participants, before: Iterable[Reading]) -> Prediction:
    """What a burst will show; of a load over time as far as arithmetic says how many connections there are at once."""
    load = participants.load
    holds_s = {limiter.port_hold_s for limiter in participants.limiters}
    at_once = load.at_once(max(holds_s, default=0)) if len(holds_s) <= 1 or not load.over_time else None
    if at_once is None:
        return Prediction(load.connections, None, None, None, ())
    if reason := _throttling(participants, at_once):
        return Prediction(load.connections, None, None, None, (), unknown=reason)
    predicted = predict(
        participants.topology,
        at_once,
        source=participants.sources,
        server=participants.server.name,
        protocol=load.protocol,
        in_use=_in_use(before),
        connect_timeout_s=load.connect_timeout_s,
        look_ups=_look_ups(participants),
        questions_each=load.look_up.questions,
        per_environment=load.connections_per_environment,
    )
    if predicted.throttled and load.arrivals.per_s is not None and predicted.drop_threshold is not None:
        reason = (
            "connections that are lost make room for invocations that come later: how many are throttled is not known"
        )
        return Prediction(load.connections, None, None, None, (), unknown=reason)
    if not load.over_time or predicted.bottleneck is None:
        if at_once == load.connections or load.reuse:
            return replace(predicted, offered=load.connections)
        return replace(
            predicted, offered=load.connections, established=load.connections, functions=tuple(_each(participants))
        )
    # Retries succeed as others close. With a port hold, the rate says how many are open when the limit is reached.
    threshold = None if any(holds_s) else predicted.drop_threshold
    return replace(predicted, offered=load.connections, established=None, drop_threshold=threshold, functions=())


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


def _in_use(readings: Iterable[Reading]) -> InUse:
    """Slots taken of a limit; a further ENI that has appeared counts as free slots, so a sum may be negative."""
    used: Counter[Scope] = Counter()
    for reading in readings:
        if reading.appeared:
            limiter = reading.limiter
            used[Scope(limiter.place, limiter.destination)] += reading.in_use - (limiter.limit if limiter.of else 0)
    return used.__getitem__
