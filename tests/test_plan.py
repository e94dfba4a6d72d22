"""The plan of an epoch, against the plainest way to say it."""

from hypothesis import given
from hypothesis import strategies as st

from ragmask.streaming.plan import Order, shuffled

GROUPS = st.lists(st.integers(0, 7), max_size=6)


@given(st.integers(0, 50), st.integers(0, 9))
def test_shuffled_is_a_permutation(n, seed):
    assert sorted(shuffled(n, seed).tolist()) == list(range(n))


@given(GROUPS, st.integers(0, 20), st.data())
def test_windows_hold_every_row_once_in_order(groups, window_rows, data):
    order = Order(groups)
    first = data.draw(st.integers(0, order.rows))
    last = data.draw(st.integers(first, order.rows))
    numbered = [(group, row) for group, count in enumerate(groups) for row in range(count)]
    windows = order.windows(first, last, window_rows)
    planned = [
        (span.group, row)
        for window in windows
        for span in order.spans(window)
        for row in range(span.first, span.last)
    ]
    assert planned == numbered[first:last]
