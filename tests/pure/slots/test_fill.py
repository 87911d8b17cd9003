"""What fills a limiter: sums over several slot sets, and words."""

from __future__ import annotations

from lab.slots.fill import Fill, HalfOpen

TO_CACHE = HalfOpen("cache", 5, oldest_s=12, free_s=108, timeout_s=120, earlier=2)


def test_sum() -> None:
    """Half-open connections to one destination are told together: the oldest of all, free when the last one is."""
    other = Fill(3, (HalfOpen("store", 9, 1, 119, 120), HalfOpen("cache", 1, 40, 80, 120, 1)), 2, 7)
    both = Fill.sum([Fill(10, (TO_CACHE,), 1, 4), other])
    half_open = (HalfOpen("store", 9, 1, 119, 120), HalfOpen("cache", 6, 40, 108, 120, 3))
    assert both == Fill(13, half_open, closing=3, closing_free_s=7)
    assert (both.half_open_slots, both.half_open_earlier, both.taken) == (15, 3, 31)


def test_sum_with_one_that_was_not_read() -> None:
    """What is not known of a part is not known of the whole."""
    assert Fill.sum([Fill(10), None]) is None


def test_words() -> None:
    """Only states that there are are told, and of those that pass when they do."""
    assert Fill(15, (TO_CACHE,), 3, 30).text == (
        "15 established, 5 half-open to cache (last SYN 12 s ago, free again within 108 s), "
        "3 closing (free again within 30 s)"
    )
    assert Fill(0).text == ""
