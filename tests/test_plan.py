"""The plan of an epoch, against the plainest way to say it."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.streaming.plan import (
    Deal,
    Order,
    Place,
    Window,
    deal,
    left,
    number_of_batches,
    share,
    shuffled,
    windows_of_ranks,
)

GROUPS = st.lists(st.integers(0, 7), max_size=6)
WORLDS = st.integers(1, 9)


def rows_of(order, window):
    """(row group, row) of each row that is left in a window, where each row is an item."""
    rows = [
        (span.group, row) for span in order.spans(window) for row in range(span.first, span.last)
    ]
    return rows[window.done :]


def numbered(groups):
    return [(group, row) for group, count in enumerate(groups) for row in range(count)]


# -- random order -------------------------------------------------------------------------


@given(st.integers(0, 50), st.integers(0, 9))
def test_shuffled_is_a_permutation(n, seed):
    assert sorted(shuffled(n, seed).tolist()) == list(range(n))


@pytest.mark.parametrize(
    ("key", "order"),
    [
        ((0,), [3, 0, 1, 2, 8, 7, 4, 5, 6, 9]),
        ((7,), [6, 4, 2, 0, 9, 5, 7, 8, 3, 1]),
        ((42, 0), [4, 8, 3, 2, 9, 6, 7, 5, 0, 1]),
        ((1, 2, 3, 4), [6, 8, 4, 0, 5, 3, 2, 7, 9, 1]),
        ((2**40, 1), [8, 9, 1, 7, 5, 6, 0, 4, 2, 3]),
    ],
)
def test_the_order_of_a_key_never_changes(key, order):
    """Else a state of an older ragmask would go on with other rows."""
    assert shuffled(10, *key).tolist() == order


def test_each_key_has_its_own_order():
    keys = [(a, b, c) for a in range(1, 5) for b in range(5) for c in range(5)]
    assert len({tuple(shuffled(20, *key)) for key in keys}) == len(keys)


def test_every_number_comes_to_every_place_equally_often():
    counts = Counter()
    for key in range(2000):
        counts.update(enumerate(shuffled(5, key).tolist()))
    assert len(counts) == 25
    assert all(310 < count < 490 for count in counts.values())  # 400, and 5 times its deviation


# -- windows and shares -------------------------------------------------------------------


@given(GROUPS, st.integers(0, 20), st.data())
def test_windows_hold_every_row_once_in_order(groups, window_rows, data):
    order = Order(groups)
    first = data.draw(st.integers(0, order.rows))
    last = data.draw(st.integers(first, order.rows))
    windows = order.windows(first, last, window_rows)
    planned = [row for window in windows for row in rows_of(order, window)]
    assert planned == numbered(groups)[first:last]


@given(GROUPS, st.integers(0, 20), st.data())
def test_windows_are_whole_row_groups_as_many_as_fit(groups, window_rows, data):
    order = Order(groups)
    first = data.draw(st.integers(0, order.rows))
    last = data.draw(st.integers(first, order.rows))
    windows = order.windows(first, last, window_rows)
    for window in windows:
        assert window.first == first or window.first in order.starts
        assert window.last == last or window.last in order.starts
        assert window.rows > 0
        assert window.rows <= window_rows or len(order.spans(window)) == 1
    for window, after in pairwise(windows):
        following = order.spans(after)[0]
        assert window.rows + following.last - following.first > window_rows


@given(GROUPS, st.integers(0, 9))
def test_a_key_changes_the_order_of_row_groups_and_no_row_of_them(groups, key):
    order = Order(groups, (key,))
    whole = rows_of(order, Window(0, order.rows))
    assert sorted(whole) == numbered(groups)
    assert [group for group, row in whole if row == 0] == order.groups
    assert sorted(order.groups) == [group for group, rows in enumerate(groups) if rows]


@given(st.integers(0, 200), st.integers(1, 40))
def test_shares_hold_every_row_once_and_differ_by_one_at_most(rows, world_size):
    shares = [share(rows, rank, world_size) for rank in range(world_size)]
    assert [row for first, last in shares for row in range(first, last)] == list(range(rows))
    sizes = [last - first for first, last in shares]
    assert max(sizes) - min(sizes) <= 1


# -- dealt out anew -----------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(1, 9), max_size=5), max_size=4), WORLDS)
def test_a_deal_gives_each_window_to_one_rank_and_the_ranks_about_as_many_rows(sizes, world_size):
    hands, first = [], 0
    for hand in sizes:
        hands.append([])
        for size in hand:
            hands[-1].append(Window(first, first + size, size // 2))
            first += size
    dealt = deal(hands, world_size)
    assert len(dealt) == world_size
    windows = [window for hand in hands for window in hand]
    assert sorted(window for hand in dealt for window in hand) == windows
    assert all(hand == sorted(hand) for hand in dealt)
    rows = [sum(window.rows for window in hand) for hand in dealt]
    assert max(rows) - min(rows) <= max([window.rows for window in windows], default=0)


@given(
    GROUPS,
    st.integers(0, 12),
    st.none() | st.integers(0, 3),
    st.lists(WORLDS, min_size=1, max_size=4),
    st.data(),
)
def test_every_row_is_read_once_through_any_number_of_deals(groups, window_rows, key, worlds, data):
    order = Order(groups, None if key is None else (key,))
    deals, read = [], []
    for world_size in worlds:
        hands = windows_of_ranks(order, window_rows, world_size, deals)
        assert len(hands) == world_size
        places = []
        for hand in hands:
            number = data.draw(st.integers(0, len(hand)))
            place = Place(number)
            if number < len(hand):
                done, rows = hand[number].done, hand[number].rows
                place = Place(number, data.draw(st.sampled_from([0, *range(done, rows)])))
                opened = rows_of(order, hand[number])
                read += opened[: max(place.item - done, 0)]
            elif data.draw(st.booleans()):
                place = None  # its next epoch has begun
            read += [row for window in hand[:number] for row in rows_of(order, window)]
            places.append(place)
        deals.append(Deal(tuple(places)))
    hands = windows_of_ranks(order, window_rows, data.draw(WORLDS), deals)
    read += [row for hand in hands for window in hand for row in rows_of(order, window)]
    assert sorted(read) == numbered(groups)


def test_more_ranks_than_rows_leave_some_without():
    order = Order([2, 0, 1])
    hands = windows_of_ranks(order, 5, 7)
    assert sorted(row for hand in hands for window in hand for row in rows_of(order, window)) == [
        (0, 0),
        (0, 1),
        (2, 0),
    ]
    assert sum(map(bool, hands)) == 3
    again = windows_of_ranks(order, 5, 9, [Deal((Place(),) * 7)])
    assert sum(map(bool, again)) == 3
    assert windows_of_ranks(Order([]), 5, 2) == [[], []]


def test_what_is_left_begins_with_the_rest_of_the_open_window():
    windows = [Window(0, 4), Window(4, 6, 1), Window(6, 9)]
    assert left(windows, Place()) == windows
    assert left(windows, Place(0, 3)) == [Window(0, 4, 3), *windows[1:]]
    assert left(windows, Place(1)) == windows[1:]
    assert left(windows, Place(2, 2)) == [Window(6, 9, 2)]
    assert left(windows, Place(3)) == left(windows, Place(3, 0, 2)) == left(windows, None) == []
    for place in (Place(4), Place(3, 1)):
        with pytest.raises(rm.InvalidInputError, match="its rank has 3 windows"):
            left(windows, place)


@given(st.integers(0, 40), st.integers(1, 9))
def test_batches_are_counted_as_they_are_cut(items, size):
    cut = [list(range(items))[first : first + size] for first in range(0, items, size)]
    assert number_of_batches(items, size, False) == len(cut)
    assert number_of_batches(items, size, True) == sum(len(batch) == size for batch in cut)
