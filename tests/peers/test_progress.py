"""Bars of tqdm over a stream's rows."""

import io
import sys
import threading
from collections import Counter

import pyarrow as pa
import pytest
import tqdm.auto

import ragmask as rm

TABLE = pa.table({"ids": [[number] * (number % 4) for number in range(100)]})


@pytest.fixture
def bars(monkeypatch):
    """Every bar that is made, drawn nowhere."""
    made = []

    class Bar(tqdm.auto.tqdm):
        def __init__(self, **options):
            super().__init__(file=io.StringIO(), **options)
            self.closed = 0
            made.append(self)

        def close(self):
            self.closed += 1
            self.shown = (self.n, self.total, self.postfix)
            super().close()

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    return made


def test_a_bar_reaches_the_end_and_says_the_padding(bars):
    stream = rm.stream(TABLE, progress=True).batch(rows=16)
    list(stream)
    list(stream)
    assert [bar.desc for bar in bars] == ["epoch 0", "epoch 1"]
    padding = stream.report().steps["ids"].padding
    assert bars[0].shown == (100, 100, f"{padding:.1%} padding")
    assert bars[0].disable  # closed


@pytest.mark.parametrize("prefetch", [0, 3])
def test_bars_are_closed_however_a_loop_ends(bars, prefetch):
    stream = rm.stream(TABLE, progress=True).prefetch(prefetch).batch(rows=30)
    for _ in stream:
        break
    loop = iter(stream)
    next(loop)
    with pytest.raises(ZeroDivisionError):
        loop.throw(ZeroDivisionError)
    loop = iter(stream)
    next(loop)
    del loop
    iter(stream)  # never asked for a batch
    assert [bar.shown[0] for bar in bars] == [30, 30, 30]
    assert all(bar.disable for bar in bars)


def test_a_resumed_epoch_begins_where_it_stands(bars):
    first = next(iter(rm.stream(TABLE).batch(rows=30)))
    stream = rm.stream(TABLE, progress=True).batch(rows=30)
    stream.load_state_dict(first.state)
    list(stream)
    assert (bars[0].initial, bars[0].shown[:2]) == (30, (100, 100))


def test_loops_inside_loops_and_on_threads(bars):
    def loop():
        for _ in rm.stream(TABLE, progress=True).batch(rows=50):
            list(rm.stream(TABLE, progress=True).batch(rows=50))

    threads = [threading.Thread(target=loop) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(bar.shown[:2] for bar in bars) == {(100, 100): 6}


def test_rows_left_out_and_filtered_rows_come_to_the_end(bars):
    list(rm.stream(TABLE, progress=True).batch(rows=30, drop_last=True))
    list(rm.stream(TABLE.append_column("n", pa.array(range(100))), progress=True,
                   filter=[("n", "<", 3)]).batch(rows=2))  # fmt: skip
    list(rm.stream(TABLE.slice(0, 0), progress=True).batch(rows=2))
    assert [bar.shown[:2] for bar in bars] == [(100, 100), (100, 100), (0, 0)]


def test_it_is_what_a_terminal_gets(capsys):
    list(rm.stream(TABLE, progress=True).batch(rows=50))
    out, err = capsys.readouterr()
    assert out == ""
    assert "100/100" in err
    assert "rows/s" in err
    assert "tqdm" in sys.modules
