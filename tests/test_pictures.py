"""What notebooks show of batches and streams: safe, small, and true."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask import markup
from ragmask.batches.picture import Piece, runs_of
from ragmask.data import JAPANESE_VOWELS
from tests.memory import traced_peak
from tests.pages import HOSTILE, read
from tests.strategies import nested_rows_of, nesteds, padded_rows_of, raggeds, rows_of

FIRST, LAST = 8, 2
KEPT = {"rm-kept": True, "rm-masked": False, "rm-padding": False}


def kind_of(element):
    return next(name for name in element["class"].split() if name in KEPT)


def drawn_rows(picture):
    """{row: (its pieces as bools, its pieces' texts or None, what stands at its end)}."""
    rows = {}
    (image,) = picture.find("rm-rows")
    parts = [one for one in image.children if "rm-more" not in one["class"].split()]
    size = 4 if "rm-heads" in image["class"] else 3
    for number, bar, end, *_ in zip(*(parts[place::size] for place in range(size)), strict=True):
        pieces, texts = [], None
        if bar["class"] == "rm-cells":
            pieces = [[KEPT[kind_of(cell)] for cell in piece.children] for piece in bar.children]
            texts = [[cell.text for cell in piece.children] for piece in bar.children]
        else:
            for piece in bar.children:
                pieces.append(
                    [KEPT[kind_of(run)] for run in piece.children for _ in range(run.flex)]
                )
                assert piece.flex == len(pieces[-1])
        rows[int(number.text.replace(",", ""))] = pieces, texts, end.text
    return rows


def told_rows(picture):
    """{row: (steps, masked)} of the words for who does not see the picture."""
    (image,) = picture.find("rm-rows")
    told = re.findall(r"Row ([\d,]+): ([\d,]+) steps?(?:, ([\d,]+) masked)?\.", image["aria-label"])
    return {int(row): (int(steps), int(masked or 0)) for row, steps, masked in told}


@given(raggeds(max_rows=14))
def test_the_rows_of_a_ragged_are_as_drawn(ragged):
    picture = read(ragged._repr_html_())
    _, masks = rows_of(ragged)
    first = repr(ragged).splitlines()[0]
    assert picture.find("p")[0].text.replace(" · ", ", ") == re.sub(r"\((.*)\)", r" \1", first)
    if not len(ragged):
        assert not picture.find("rm-rows")
        return
    drawn = drawn_rows(picture)
    rows = range(len(ragged))
    assert list(drawn) == (
        list(rows) if len(rows) <= FIRST + LAST else [*rows[:FIRST], *rows[-LAST:]]
    )
    for row, ((mask,), texts, end) in drawn.items():
        assert mask == masks[row]
        assert int(end) == len(mask)
        if texts:
            assert [bool(text) for text in texts[0]] == mask
    assert told_rows(picture) == {row: (len(masks[row]), masks[row].count(False)) for row in drawn}
    left = len(ragged) - len(drawn)
    assert [one.text for one in picture.find("rm-more")] == (
        [f"… {left} more row{'s' * (left > 1)}"] if left else []
    )


@given(raggeds(dtypes=("int16", "bool", "float64"), item_shapes=[()], tame=True, max_rows=14))
def test_bars_are_to_scale_and_cells_hold_their_numbers(ragged):
    picture = read(ragged._repr_html_())
    if not len(ragged):
        return
    drawn = drawn_rows(picture)
    longest = max(int(end) for _, _, end in drawn.values())
    for bar, (_, _, end) in zip(picture.find("rm-bar"), drawn.values(), strict=False):
        share = float(re.fullmatch(r"width:([\d.]+)%", bar["style"])[1])
        assert share == pytest.approx(100 * int(end) / max(longest, 1), rel=1e-3)
    for row, (_, texts, _) in drawn.items():
        if texts is None:
            continue
        values, mask = ragged._row_parts(row)
        for text, value, kept in zip(
            texts[0], values.tolist(), [True] * len(values) if mask is None else mask, strict=True
        ):
            assert text == (
                "" if not kept else f"{value:.4g}" if isinstance(value, float) else str(value)
            )


@given(raggeds(), st.sampled_from(["pre", "post"]))
def test_padding_looks_other_than_masked_steps(ragged, side):
    padded = ragged.to_padded(padding=side)
    picture = read(padded._repr_html_())
    _, masks = padded_rows_of(padded)
    if not len(padded):
        return
    for row, ((mask,), _, end) in drawn_rows(picture).items():
        assert mask == masks[row]
        assert end == f"{sum(mask)} of {len(mask)}"
    width = padded.shape[1]
    bars = [
        bar for bar in picture.find("rm-bar", "rm-cells") if bar.find("rm-padding", "rm-masked")
    ]
    for bar in bars:
        kinds = []
        for one in bar.find("i", "rm-s"):
            kinds += [kind_of(one)] * (1 if one.tag == "span" else one.flex)
        assert len(kinds) == width
        while kinds and kinds[0] == "rm-padding":
            kinds.pop(0)
        while kinds and kinds[-1] == "rm-padding":
            kinds.pop()
        assert "rm-padding" not in kinds
        assert kinds[:1] in ([], ["rm-kept"])
        assert kinds[-1:] in ([], ["rm-kept"])


@given(nesteds())
def test_the_inner_rows_of_a_nested_are_as_drawn(nested):
    picture = read(nested._repr_html_())
    if not len(nested):
        return
    _, masks, outer = nested_rows_of(nested)
    for row, (pieces, _, end) in drawn_rows(picture).items():
        wanted = [
            mask if kept else [False] * len(mask)
            for mask, kept in zip(masks[row], outer[row], strict=True)
        ]
        assert pieces == wanted
        assert end == f"{sum(map(len, wanted))} in {len(wanted)}"


@given(st.integers(1, 3000), st.integers(0, 99), st.sampled_from([0.01, 0.5, 0.99]))
def test_runs_of_long_rows_tell_no_lies(steps, seed, share):
    mask = np.random.default_rng(seed).random(steps) < share
    at = 0
    runs = runs_of(Piece(np.zeros(steps), mask))
    for run in runs:
        part = mask[at : at + run.steps]
        kind = "kept" if part.all() else "partly" if part.any() else "masked"
        assert kind == run.kind
        at += run.steps
    assert at == steps
    assert len(runs) <= 48


# -- small and fast, whatever there is ----------------------------------------------------


def many_steps():
    steps = 10_000_000
    mask = np.arange(steps) % 2 == 0
    return rm.Ragged(np.zeros(steps, np.int8), [0, 5], [steps, steps - 5], mask)


def many_rows():
    return rm.Ragged(np.zeros(2_000_000, np.int8), np.arange(1_000_000), np.full(1_000_000, 2))


def wide():
    mask = np.arange(10_000_000).reshape(2, -1) % 3 > 0
    return rm.Padded(np.zeros((2, 5_000_000), np.int8), mask)


def many_inner_rows():
    inner = rm.Ragged.from_offsets(np.zeros(900_000, np.int8), np.arange(300_001) * 3)
    return rm.NestedRagged.from_offsets(inner, [0, 150_000, 300_000])


@pytest.mark.parametrize("make", [many_steps, many_rows, wide, many_inner_rows])
def test_pictures_of_much_are_small_and_copy_nothing(make):
    batch = make()
    repr(batch)  # which finds out the facts
    page, peak = traced_peak(batch._repr_html_)
    read(page)
    assert len(page) < 40_000
    assert peak < 2_000_000


def test_a_batch_of_many_columns_and_long_values_is_small():
    columns = {f"c{number}": np.zeros(2) for number in range(5000)}
    page = rm.Batch(columns)._repr_html_()
    assert "… 4,980 more columns" in read(page).text
    assert len(page) < 20_000
    deep = pa.array([["x" * 1_000_000] * 3] * 3)
    struct = pa.array([{f"f{n}": [{"a": "y" * 1000}] * 100 for n in range(500)}] * 2)
    for column in (deep, struct, pa.array([b"\0" * 1_000_000]), pa.chunked_array([deep, deep])):
        page, peak = traced_peak(rm.Batch({"c": column})._repr_html_)
        read(page)
        assert len(page) < 10_000
        assert peak < 1_000_000


# -- whatever texts say -------------------------------------------------------------------


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_text_leaves_its_place(kind, tmp_path):
    text = HOSTILE[kind]
    try:
        strings = pa.array([text, None])
    except UnicodeEncodeError:  # Arrow has no such text
        strings = pa.array(["", None])
    table = pa.table({"ids": [[1], [2, 3]], "words": [strings.to_pylist()] * 2, "one": strings})
    batch = rm.Batch.from_arrow(table)
    columns = {
        **batch,
        text: np.array([1, 2]),
        "objects": np.array([text, text], object),
        "strings": np.array([text[:1000].replace("\0", "")] * 2),
        "dictionary": strings.dictionary_encode(),
        "struct": pa.array([{text.encode(errors="replace").decode(): 1}] * 2),
    }
    for shown in (batch, rm.Batch(columns)):
        page = shown._repr_html_()
        read(page)
        assert len(page) < 20_000
    assert len(markup.short(text)) <= 60


@pytest.mark.parametrize("kind", [kind for kind in HOSTILE if "long" not in kind])
def test_no_name_in_a_file_leaves_its_place(kind, tmp_path):
    name = HOSTILE[kind].encode(errors="replace").decode().replace("\0", "0")
    path = tmp_path / f"{name.replace('/', '|')}.parquet"
    pq.write_table(pa.table({"ids": [[1], [2, 3]], name: ["a", "b"]}), path)

    def function(batch):
        return batch

    function.__name__ = HOSTILE[kind]
    stream = rm.stream(path, filter=[(name, "!=", HOSTILE["quotes"])]) if name else rm.stream(path)
    stream = stream.shuffle(seed=1).batch(tokens=5, column="ids").map(function)
    read(stream._repr_html_())
    if name:
        assert markup.short(name) in read(stream._repr_html_()).text


def test_what_is_shown_is_escaped_once():
    page = rm.Batch({"<b> & \"'": np.array([1])})._repr_html_()
    assert read(page).find("th")[-1].text == "<b> & \"'"


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("most", [1, 9, 60])
def test_short_texts_are_short(kind, most):
    shown = markup.short(HOSTILE[kind], most)
    assert len(shown) <= most
    assert shown.isprintable()


# -- batches ------------------------------------------------------------------------------


def test_a_batch_is_a_table_of_its_columns():
    struct = pa.array([[{"a": 1, "b": "x"}], [{"a": 2, "b": "y"}] * 2])
    batch = rm.Batch.from_arrow(
        pa.table(
            {
                "ids": [[1, 2], [3]],
                "kind": pa.array(["u", "v"]).dictionary_encode(),
                "both": struct,
                "score": [0.5, None],
                "words": [["a", "b", "c", "d"], None],
                "pair": pa.array([[1.0, 2.0]] * 2, pa.list_(pa.float32(), 2)),
            }
        )
    )
    rows = [
        [cell.text for cell in row.find("th", "td")] for row in read(batch._repr_html_()).find("tr")
    ]
    assert rows == [
        ["column", "holds", "its first rows"],
        ["ids", "Ragged, 3 steps, int64, lengths 1–2", ""],
        ["kind", "Arrow array of string", "u v"],
        ["both.a", "Ragged, 3 steps, int64, lengths 1–2", ""],
        ["both.b", "Arrow array of large_list<string>", "[x] [y, y]"],
        ["score", "masked array of float64", "0.5 null"],
        ["words", "Arrow array of list<string>", "[a, b, c, …] null"],
        ["pair", "array of 2 float32", ""],
    ]


def test_types_are_named_as_arrow_names_them():
    types = [
        pa.int8(),
        pa.list_(pa.string()),
        pa.large_list(pa.float32()),
        pa.list_(pa.int8(), 3),
        pa.struct({"a": pa.int64(), "b": pa.list_(pa.bool_())}),
        pa.map_(pa.string(), pa.int8()),
        pa.timestamp("us", "UTC"),
        pa.struct([(str(number), pa.int8()) for number in range(9)]),
    ]
    from ragmask.streaming.picture import type_text

    assert [type_text(type_) for type_ in types] == [
        "int8",
        "list<string>",
        "large_list<float>",
        "fixed_size_list<int8>[3]",
        "struct<a: int64, b: list<bool>>",
        "map<struct<key: string, value: int8>>",
        "timestamp[us, tz=UTC]",
        "struct<9 fields>",
    ]


# -- streams ------------------------------------------------------------------------------


def steps_of(stream):
    (chain,) = read(stream._repr_html_()).find("rm-chain")
    return [step.text for step in chain.children]


def test_a_stream_tells_its_steps_in_order():
    stream = rm.stream(JAPANESE_VOWELS, ["frames", "speaker"], filter=[("speaker", "<", 5)])
    part = stream.split({"a": 0.25, "b": 0.75}, seed=3)["a"]
    part = (
        part.prefetch(1).batch(rows=8, drop_last=True).shard(1, 4).shuffle(seed=7, window_rows=64)
    )
    assert steps_of(part.map(len)) == [
        "read 640 rows",
        "where (speaker < 5)",
        "split 0.25 of the rows, seed 3",
        "shuffle seed 7, windows of 64 rows",
        "shard rank 1 of 4",
        "batch 8 rows, the last left out",
        "map len",
        "prefetch 1 window",
    ]
    assert steps_of(stream.pack(64, "frames"))[2:3] == ["pack frames to 64 steps"]
    budget = stream.batch(tokens=512, column="frames", multiple_of=8)
    assert steps_of(budget)[2] == (
        "batch at most 512 padded steps of frames, by length, for widths in multiples of 8 "
        "and rows of 1"
    )
    buckets = stream.batch(rows=4, bucket=True, column="frames")
    assert steps_of(buckets)[2] == "batch 4 rows, by length of frames"


def test_a_stream_shows_itself_without_reading(tmp_path):
    for number in range(3):
        pq.write_table(pa.table({"ids": [[1], [2]]}), tmp_path / f"{number}.parquet")
    stream = rm.stream(tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")  # footers but the first would fail
    page = read(stream._repr_html_())
    assert "3 files" in page.text
    assert "and 2 more files" in page.text
    assert steps_of(stream) == ["read ", "prefetch 3 windows"]


def test_rows_are_told_once_footers_are_read(tmp_path):
    for number in range(3):
        pq.write_table(pa.table({"ids": [[1], [2]]}), tmp_path / f"{number}.parquet")
    stream = rm.stream(tmp_path).batch(rows=1)
    assert len(stream) == 6
    assert steps_of(stream)[0] == "read 6 rows"
