"""What a stream says of its loops: reports, and progress."""

import copy
import pickle
import re
import sys
import threading
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

import ragmask as rm
from ragmask.streaming import cpu_time, measures
from ragmask.streaming.cpu_time import cpu_seconds
from ragmask.streaming.report import StreamReport
from ragmask.streaming.retry import Retry
from tests.pages import read
from tests.streams import DATA, contents, setups, written

LENGTHS = [3, 1, 0, 2, 2, 5, 0, 0, 1, 4]
TABLE = pa.table(
    {
        "ids": [[7] * length for length in LENGTHS],
        "pairs": [[[1.0, 2.0]] * length for length in LENGTHS],
        "words": [["a"] * length for length in LENGTHS],
        "keep": [number % 2 == 0 for number in range(10)],
    }
)
REPORT = StreamReport(
    epoch=2,
    rows=100,
    batches=10,
    steps={"ids": measures.Steps(60, 80)},
    seconds=10.0,
    waiting=0.0,
    mapping=0.0,
    consuming=0.0,
    reading=0.0,
    decoding=0.0,
    tokenizing=0.0,
    arranging=0.0,
    rows_read=100,
    bytes_read=20_000_000,
    prefetch=3,
    is_local=True,
    finished=True,
)


@pytest.fixture
def path(tmp_path):
    pq.write_table(TABLE, tmp_path / "rows.parquet", row_group_size=4)
    return tmp_path / "rows.parquet"


def spent(report):
    return report.waiting + report.mapping + report.consuming


# -- reports ------------------------------------------------------------------------------


@given(DATA, setups())
def test_it_counts_what_was_delivered(data, setup):
    with written(data) as folder:
        stream = setup.stream(folder)
        batches = [contents(batch) and batch for batch in stream]
        report = stream.report()
    assert report.finished
    assert report.epoch == 0
    assert report.batches == len(batches)
    assert report.rows == sum(len(batch.row_ids) for batch in batches)
    counted = [batch["ids"] for batch in batches]
    real = sum(ids.n_steps for ids in counted)
    padded = sum(len(ids) * ids.lengths.max(initial=0) for ids in counted)
    assert report.steps.get("ids", (0, 0)) == (real, padded)


@pytest.mark.parametrize("at_once", [1, 3, 512])
def test_steps_are_those_of_to_padded_whenever_they_are_added_up(path, at_once, monkeypatch):
    monkeypatch.setattr(measures, "_BATCHES", at_once)
    stream, real, padded = rm.stream(path).batch(rows=3), 0, 0
    for batch in stream:
        real += batch["ids"].n_steps
        padded += batch["ids"].to_padded().mask.size
        now = stream.report()
        assert now.steps["ids"] == (real, padded)
        assert not now.finished
    steps = stream.report().steps
    assert steps == {"ids": (real, padded)}
    assert steps["ids"].padding == pytest.approx(1 - real / padded)


def test_the_column_that_batches_are_made_by_counts_alone(path):
    table = TABLE.append_column("more", TABLE["ids"])
    stream = rm.stream(table, ["ids", "more", "words"])
    for make in (
        lambda: stream.batch(tokens=6, column="words"),
        lambda: stream.batch(2, column="words", bucket=True),
        lambda: stream.pack(8, "words").batch(rows=2),
    ):
        made = make()
        real = sum(len(row) for batch in made for row in batch["words"].to_pylist())
        assert list(made.report().steps) == ["words"]
        assert made.report().steps["words"].real == real == sum(LENGTHS)
    every = stream.batch(rows=5)
    list(every)
    assert list(every.report().steps) == ["ids", "more"]


def test_time_goes_to_whoever_spends_it(path):
    def slow(batch):
        time.sleep(0.02)
        return batch

    stream = rm.stream(path).map(slow).batch(rows=5)
    for _ in stream:
        time.sleep(0.1)
    report = stream.report()
    assert 0.04 <= report.mapping < report.consuming
    assert report.consuming >= 0.2
    assert spent(report) == pytest.approx(report.seconds)
    assert report.rows_per_second == 10 / report.seconds
    assert report.rows_read == 10
    time.sleep(0.02)
    assert stream.report() == report  # nothing goes on once the loop has ended


def test_a_tokenizer_that_sleeps_does_not_wait_for_the_disk():
    def slow(texts):
        time.sleep(0.1)  # as one does while threads of its own work
        return [[1] * len(text) for text in texts.to_pylist()]

    texts = pa.table({"text": ["a", "bc"]})
    stream = rm.stream(texts).tokenize("text", slow).batch()
    list(stream)
    report = stream.report()
    assert report.tokenizing >= 0.1
    assert report.reading < 0.1
    assert "s tokenizing, " in str(report)
    assert report.advice.startswith("tokenizing is the bottleneck")


def test_a_loop_that_is_left_ends_there(path):
    stream = rm.stream(path).batch(rows=2)
    for _ in stream:
        break
    loop = iter(stream)
    next(loop)
    with pytest.raises(ZeroDivisionError):
        loop.throw(ZeroDivisionError)
    report = stream.report()
    assert (report.batches, report.rows, report.finished) == (1, 2, False)
    assert "so far" in str(report)
    list(stream)
    assert (stream.report().batches, stream.report().finished) == (5, True)
    list(stream)
    assert stream.report().epoch == 1


def test_a_loop_whose_files_fail_ends_too(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(TABLE, path, row_group_size=4)
    stream = rm.stream(path).prefetch(0).batch(rows=2)
    loop = iter(stream)
    next(loop)
    path.write_bytes(b"")
    with pytest.raises(rm.StreamError):
        list(loop)
    assert not stream.report().finished


def test_there_is_nothing_to_report_before_a_loop(path):
    stream = rm.stream(path).batch(rows=2)
    list(stream)
    for other in (
        rm.stream(path),
        stream.batch(rows=3),
        stream.map(dict),
        copy.copy(stream),
        copy.deepcopy(stream),
        pickle.loads(pickle.dumps(stream)),
        *stream.split({"a": 0.5, "b": 0.5}, seed=0).values(),
    ):
        with pytest.raises(rm.InvalidInputError, match="begin a loop"):
            other.report()
    assert stream.report().rows == 10


def test_a_stream_is_the_same_whatever_it_has_measured(path):
    stream, other = rm.stream(TABLE).batch(rows=2), rm.stream(path, progress=print).batch(rows=2)
    assert other == rm.stream(path).batch(rows=2)
    list(stream)
    assert stream == copy.copy(stream)
    assert hash(stream._settings) == hash(copy.copy(stream)._settings)


def test_loops_that_batches_are_made_for_are_reported(path, tmp_path):
    for read_all in (
        lambda stream: stream.to_arrow(),
        lambda stream: stream.to_parquet(tmp_path / "out.parquet"),
        lambda stream: pa.table(stream),
    ):
        for stream in (rm.stream(path), rm.stream(path).batch(rows=3)):
            read_all(stream)
            assert stream.report().rows == 10


def test_repeated_batches_are_no_rows(path):
    stream = rm.stream(path).shard(1, 3, even=True).batch(tokens=100, column="ids")
    stream = rm.stream(path, filter=[("keep", "==", True)]).shard(0, 4, even=True).batch(rows=1)
    batches = list(stream)
    assert any(batch.repeated for batch in batches)
    report = stream.report()
    assert report.batches == len(batches)
    assert report.rows == sum(not batch.repeated for batch in batches)


def test_an_epoch_of_no_rows():
    stream = rm.stream(TABLE.slice(0, 0)).batch(rows=2)
    assert list(stream) == []
    report = stream.report()
    assert (report.rows, report.batches, report.steps) == (0, 0, {})
    assert report.advice == "nothing was delivered"
    assert "0 rows, 0 batches" in str(report)
    read(report._repr_html_())


def test_reports_are_asked_for_from_other_threads(path):
    stream = rm.stream(pa.concat_tables([TABLE] * 100)).batch(rows=3)
    stop, reports, errors = threading.Event(), [], []
    loop = iter(stream)
    next(loop)

    def ask():
        try:
            while not stop.is_set():
                reports.append(stream.report())
        except Exception as error:  # told on the main thread
            errors.append(error)

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    list(loop)
    stop.set()
    for asker in askers:
        asker.join()
    assert not errors
    alone = rm.stream(pa.concat_tables([TABLE] * 100)).batch(rows=3)
    list(alone)
    assert stream.report().steps == alone.report().steps
    assert stream.report().rows == 1000


def test_work_of_threads_that_read_for_another_is_its_own():
    def work():
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass

    before = cpu_seconds()
    Retry().run(work, "work")
    assert cpu_seconds() - before >= 0.02
    before = cpu_seconds()
    Retry().run(lambda: time.sleep(0.2), "sleep")
    assert cpu_seconds() - before < 0.15


def test_a_machine_that_tells_no_queue_is_fine(monkeypatch):
    for told in ("/nowhere", "/dev/null"):
        monkeypatch.setattr(cpu_time, "_SCHEDULED", Path(told))
        assert cpu_seconds() >= time.thread_time() - 1


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ({"consuming": 9.5, "waiting": 0.3, "decoding": 9.0}, "the consumer .*were ready"),
        ({"consuming": 2.0, "waiting": 8.0, "decoding": 15.0, "reading": 1.0}, "^decoding is"),
        ({"consuming": 2.0, "waiting": 8.0, "reading": 15.0}, "^the disk is"),
        ({"waiting": 8.0, "reading": 15.0, "is_local": False}, "^the network is"),
        ({"waiting": 8.0, "arranging": 8.0}, "^arranging is"),
        ({"waiting": 8.0, "tokenizing": 8.0, "decoding": 2.0}, "^tokenizing is"),
        ({"waiting": 8.0, "decoding": 1.0}, "^the start is"),
        ({"mapping": 8.0, "waiting": 1.0, "consuming": 1.0}, "^map is"),
        ({"mapping": 4.0, "consuming": 6.0}, "consumer .*given to map take 40%"),
        ({"waiting": 4.0, "consuming": 6.0, "decoding": 4.0}, "waits for batches 40%.*decoding is"),
        ({"waiting": 4.0, "consuming": 6.0, "prefetch": 0}, r"decodes too: .prefetch\(3\)"),
        ({"waiting": 8.0, "decoding": 8.0, "prefetch": 0}, r"decoding is.*\.prefetch\(3\)"),
    ],
)
def test_it_says_what_holds_the_loop_up(times, words):
    report = REPORT._replace(**times)
    assert re.search(words, report.advice)
    assert str(report).splitlines()[-1] == report.advice
    assert repr(report) == str(report)
    page = read(report._repr_html_())
    assert report.advice in page.text
    assert "20,000,000" not in page.text
    assert "2.0 MB/s decoded" in page.text
    assert "60 steps, 80 padded: 25.0% padding" in page.text


def test_names_of_columns_are_no_markup():
    report = REPORT._replace(steps={"<b>x": measures.Steps(1, 2)})
    assert "<b>" not in report._repr_html_()
    many = REPORT._replace(steps={f"c{number}": measures.Steps() for number in range(100)})
    assert "80 more columns" in str(many)


# -- progress -----------------------------------------------------------------------------


def told_by(make, *args, **options):
    told = []
    for _ in make(rm.stream(*args, progress=told.append, **options)):
        pass
    return told


def test_a_function_hears_of_each_batch(path):
    told = told_by(lambda stream: stream.shuffle(seed=0).batch(rows=4), path)
    assert told == [(4, 10, 1, 0), (8, 10, 2, 0), (10, 10, 3, 0)]
    assert told[0].rows == 4
    assert told[0].total == 10
    assert told_by(lambda stream: stream.shard(1, 2).batch(rows=4), path)[-1] == (5, 5, 2, 0)


@given(DATA, setups())
def test_progress_rises_to_no_more_than_all(data, setup):
    told = []
    with written(data) as folder:
        stream = setup.stream(folder)
        stream = stream._with(progress=told.append)
        batches = list(stream)
    assert [one.batches for one in told] == list(range(1, len(batches) + 1))
    rows = [one.rows for one in told]
    assert rows == sorted(rows)
    assert all(one.rows <= one.total for one in told)
    if told and not setup.drop_last and not setup.filtered:
        assert rows[-1] == told[-1].total


def test_resumed_epochs_go_on_where_they_stood(path):
    for make in (
        lambda stream: stream.batch(rows=3),
        lambda stream: stream.shuffle(seed=1, window_rows=4).batch(rows=2),
        lambda stream: stream.batch(rows=4, drop_last=True),
    ):
        every = told_by(make, path)
        for done in range(1, len(every)):
            stream, told = make(rm.stream(path)), []
            *_, batch = islice(stream, done)
            again = make(rm.stream(path, progress=told.append))
            again.load_state_dict(batch.state)
            list(again)
            assert [one.rows for one in told] == [one.rows for one in every[done:]]
            assert [one.total for one in told] == [10] * len(told)


def test_with_a_filter_rows_count_as_they_are_read(path):
    told = told_by(lambda s: s.prefetch(0).batch(rows=2), path, filter=[("keep", "==", True)])
    assert [one.rows for one in told] == [4, 8, 10]
    assert told[0].total == 10


@pytest.mark.parametrize("given", [1, 0, None, "tqdm", "yes", [], np.True_])
def test_what_is_no_progress_is_refused(path, given):
    with pytest.raises(rm.UnsupportedTypeError, match="progress is True for a bar"):
        rm.stream(path, progress=given)


def test_an_error_of_the_function_ends_the_loop(path):
    def fail(told):
        raise ZeroDivisionError

    stream = rm.stream(path, progress=fail).batch(rows=2)
    with pytest.raises(ZeroDivisionError):
        next(iter(stream))
    assert not stream.report().finished


@pytest.fixture
def rich_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setenv("COLUMNS", "120")


def test_bars_of_rich_share_a_display(path, rich_alone, capsys):
    for _ in rm.stream(path, progress=True).batch(rows=5):
        inner = rm.stream(path, progress=True).batch(rows=2)
        assert sum(1 for _ in inner) == 5
        for _ in inner:
            break
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("epoch 0") >= 1
    assert "10/10" in err
    assert "% padding" in err
    from ragmask.streaming.progress import _Rich

    assert _Rich._display is None
    refreshing = [one for one in threading.enumerate() if "Refresh" in type(one).__name__]
    assert all(thread.done.is_set() for thread in refreshing)


def test_one_rank_shows_a_bar(path, rich_alone, capsys):
    for rank in (1, 2):
        list(rm.stream(path, progress=True).shard(rank, 3).batch(rows=5))
        assert capsys.readouterr().err == ""
    list(rm.stream(path, progress=True).shard(0, 3).batch(rows=5))
    assert "3/3" in capsys.readouterr().err


def test_loops_that_write_are_shown_where_asked(path, rich_alone, capsys, tmp_path):
    for stream in (rm.stream(path), rm.stream(path).batch(rows=3)):
        stream.to_parquet(tmp_path / "out.parquet", progress=True)
        assert "10/10" in capsys.readouterr().err
        assert stream.to_arrow(progress=True).num_rows == 10
        assert "10/10" in capsys.readouterr().err
        heard = []
        stream.to_parquet(tmp_path / "out.parquet", progress=heard.append)
        assert heard == [10]
        list(stream.batch(rows=2))
        assert capsys.readouterr().err == ""
    batched = rm.stream(path).batch(rows=3)
    batched.to_arrow(progress=True)
    assert batched.state_dict()["epoch"] == 1  # it was its own loop


def test_a_bar_without_tqdm_and_rich_names_the_extra(path, monkeypatch):
    for package in ("tqdm", "rich"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(rm.MissingExtraError, match=r'pip install "ragmask\[progress\]"'):
        rm.stream(path, progress=True)
    with pytest.raises(rm.MissingExtraError):
        rm.stream(path).to_arrow(progress=True)
    assert told_by(lambda stream: stream.batch(rows=10), path) == [(10, 10, 1, 0)]
