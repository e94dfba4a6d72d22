"""The plan of batches, against the plainest way to say it: number all rows, cut every `rows`."""

from hypothesis import given
from hypothesis import strategies as st

from ragmask.streaming.plan import batches_in_order, number_of_batches

GROUPS = st.lists(st.integers(0, 7), max_size=6)
ROWS = st.integers(1, 9)


@given(GROUPS, ROWS, st.booleans())
def test_batches_hold_every_row_once_in_order(groups, rows, drop_last):
    numbered = [(group, row) for group, count in enumerate(groups) for row in range(count)]
    expected = [numbered[first : first + rows] for first in range(0, len(numbered), rows)]
    if drop_last:
        expected = [batch for batch in expected if len(batch) == rows]

    planned = [
        [(span.group, row) for span in batch for row in range(span.first, span.last)]
        for batch in batches_in_order(groups, rows, drop_last)
    ]
    assert planned == expected
    assert number_of_batches(len(numbered), rows, drop_last) == len(expected)


@given(GROUPS, ROWS)
def test_a_span_is_never_empty_and_never_leaves_its_group(groups, rows):
    for batch in batches_in_order(groups, rows, drop_last=False):
        for span in batch:
            assert 0 <= span.first < span.last <= groups[span.group]
        assert len({span.group for span in batch}) == len(batch)
