"""Words to ids, against a dictionary and a loop."""

import collections
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm

GLOSSES = Path(__file__).parents[1] / "examples" / "data" / "wordnet_glosses.parquet"

WORDS = st.sampled_from(["a", "b", "cat", "dog", "", "é", "日本", "x\ny", "0"])
SENTENCES = st.lists(st.one_of(st.none(), st.lists(st.one_of(st.none(), WORDS), max_size=5)))
LIST_TYPES = [
    pa.list_(pa.string()),
    pa.large_list(pa.large_string()),
    pa.list_(pa.string_view()),
    pa.list_(pa.dictionary(pa.int32(), pa.string())),
    pa.list_view(pa.string()),
]


def by_frequency(sentences):
    counts = collections.Counter(
        word for row in sentences for word in row or [] if word is not None
    )
    return sorted(counts, key=lambda word: (-counts[word], word.encode()))


def ids_of(sentences, words, unknown_id=1):
    free = [id_ for id_ in range(1, len(words) + 2) if id_ != unknown_id]
    known = dict(zip(words, free, strict=False))
    return [
        [None if word is None else known.get(word, unknown_id) for word in row or []]
        for row in sentences
    ]


@given(SENTENCES, SENTENCES, st.sampled_from(LIST_TYPES), st.sampled_from([0, 1, 2, 5]))
def test_build_and_encode_are_the_plain_loop(seen, new, type_, unknown_id):
    vocabulary = rm.Vocabulary.build(pa.array(seen, type_), unknown_id=unknown_id)
    words = by_frequency(seen)
    assert vocabulary.words == words
    encoded = vocabulary.encode(pa.array(new, type_))
    assert encoded.to_arrow().to_pylist() == ids_of(new, words, unknown_id)
    assert (encoded.values[~encoded.mask] == 0).all() if encoded.mask is not None else True
    assert encoded.values.max(initial=0) < len(vocabulary)


@given(SENTENCES)
def test_decode_gives_known_words_back(sentences):
    vocabulary = rm.Vocabulary.build(pa.array(sentences, LIST_TYPES[0]))
    back = vocabulary.decode(vocabulary.encode(pa.array(sentences, LIST_TYPES[0])))
    assert back.to_pylist() == [row or [] for row in sentences]


def test_one_word_a_row_becomes_an_array():
    vocabulary = rm.Vocabulary(["yes", "no"])
    assert vocabulary.encode(pa.array(["no", "maybe", "yes"])).tolist() == [3, 1, 2]
    masked = vocabulary.encode(pa.chunked_array([["no"], [None]], pa.string()))
    assert isinstance(masked, np.ma.MaskedArray)
    assert masked.tolist() == [3, None]
    assert vocabulary.decode([3, 2, 1, 0]).to_pylist() == ["no", "yes", None, None]


def test_a_sliced_chunked_and_dictionary_encoded_array_are_taken():
    vocabulary = rm.Vocabulary(["a", "b"])
    lists = pa.array([["b"], ["a", "b"], None, ["c"]])
    assert vocabulary.encode(lists.slice(1)).to_arrow().to_pylist() == [[2, 3], [], [1]]
    chunked = pa.chunked_array([lists.slice(3), lists.slice(0, 2)])
    assert vocabulary.encode(chunked).to_arrow().to_pylist() == [[1], [3], [2, 3]]
    encoded = pa.array(["b", None, "a"]).dictionary_encode()
    assert vocabulary.encode(encoded).tolist() == [3, None, 2]


def test_max_size_counts_padding_and_unknown():
    words = pa.array([["a"] * 3, ["b"] * 2, ["c"]])
    for size in (2, 3, 4, 9):
        vocabulary = rm.Vocabulary.build(words, max_size=size)
        assert len(vocabulary) == min(size, 5)
        assert vocabulary.words == ["a", "b", "c"][: size - 2]
    assert len(rm.Vocabulary.build(words, max_size=3, unknown_id=0)) == 3


def test_a_stream_is_counted_whole_whatever_its_batches(tmp_path):
    rows = [["a", "b"], ["b"], None, ["c", "b", "a"]] * 3
    pq.write_table(pa.table({"words": rows, "label": range(12)}), tmp_path / "f", row_group_size=2)
    expected = rm.Vocabulary.build(pa.array(rows))
    assert rm.Vocabulary.build(rm.stream(tmp_path / "f")) == expected
    assert rm.Vocabulary.build(rm.stream(tmp_path / "f").batch(1), column="words") == expected


def test_which_column_is_asked_where_it_is_not_plain(tmp_path):
    pq.write_table(pa.table({"a": ["x"], "b": ["y"], "n": [1]}), tmp_path / "f")
    stream = rm.stream(tmp_path / "f")
    with pytest.raises(ValueError, match="which of a, b"):
        rm.Vocabulary.build(stream)
    with pytest.raises(ValueError, match="no column of words"):
        rm.Vocabulary.build(rm.stream(tmp_path / "f", columns=["n"]))
    assert rm.Vocabulary.build(stream, column="b").words == ["y"]


def test_save_and_load(tmp_path):
    vocabulary = rm.Vocabulary(["é", 'quo"te', "new\nline", ""], unknown_id=3)
    vocabulary.save(tmp_path / "v.json")
    assert rm.Vocabulary.load(tmp_path / "v.json") == vocabulary
    assert [path.name for path in tmp_path.iterdir()] == ["v.json"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "not json",
        json.dumps({"format": "ragmask vocabulary 2", "words": [], "unknown_id": 1}),
        json.dumps({"format": "ragmask vocabulary 1", "words": ["a", "a"], "unknown_id": 1}),
        json.dumps({"format": "ragmask vocabulary 1", "words": [1], "unknown_id": 1}),
        json.dumps({"format": "ragmask vocabulary 1", "words": ["a"], "unknown_id": -1}),
    ],
)
def test_a_file_that_is_no_vocabulary_is_named(tmp_path, content):
    (tmp_path / "v.json").write_text(content)
    with pytest.raises(rm.InvalidInputError, match=r"v\.json is not a saved vocabulary"):
        rm.Vocabulary.load(tmp_path / "v.json")


def test_other_things_than_words_are_refused():
    with pytest.raises(TypeError, match="strings or lists of strings; got int64"):
        rm.Vocabulary(["a"]).encode(pa.array([[1]]))
    with pytest.raises(ValueError, match="'a' appears twice"):
        rm.Vocabulary(["a", "a"])
    with pytest.raises(ValueError, match="max_size must be at least 2"):
        rm.Vocabulary.build(pa.array(["a"]), max_size=1)


STRINGS = [
    lambda words: np.array(words, "U9"),
    lambda words: np.array(words, object),
    pytest.param(
        lambda words: np.array(words, "T"),
        marks=pytest.mark.skipif(np.__version__ < "2", reason="numpy has no such strings yet"),
    ),
    tuple,
    lambda words: [np.str_(word) for word in words],
]


@pytest.mark.parametrize("make", STRINGS)
@pytest.mark.parametrize("words", [["no", "maybe", "yes"], [], ["é", "", "no"]])
def test_numpys_strings_are_words(make, words):
    vocabulary = rm.Vocabulary(["yes", "no", "é", ""])
    expected = vocabulary.encode(pa.array(words, pa.string()))
    assert vocabulary.encode(make(words)).tolist() == expected.tolist()
    assert rm.Vocabulary.build(make(words)) == rm.Vocabulary.build(pa.array(words, pa.string()))
    rows = [words, [], words[:1], words[::-1]]
    expected = vocabulary.encode(pa.array(rows, pa.list_(pa.string()))).to_arrow()
    assert vocabulary.encode([make(row) for row in rows]).to_arrow() == expected
    assert rm.Vocabulary.build([make(row) for row in rows]).words == rm.Vocabulary.build(rows).words


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (np.array([["yes", "no"], ["no", "no"]]), [[2, 3], [3, 3]]),
        (np.array([["yes"], ["no", "no"]], object), [[2], [3, 3]]),
        ([np.array(["no"]), ["yes"], None, np.array([], "U1")], [[3], [2], [], []]),
        (np.array(["no", None, float("nan")], object), [3, None, None]),
        (np.ma.MaskedArray(["no", "yes"], [False, True]), [3, None]),
        ([np.array(["no", None], object)], [[3, None]]),
    ],
)
def test_rows_and_missing_words_of_numpys(words, ids):
    encoded = rm.Vocabulary(["yes", "no"]).encode(words)
    assert (encoded.to_arrow().to_pylist() if isinstance(ids[0], list) else encoded.tolist()) == ids


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (np.array([b"no"]), r"these are bytes: decode them first, with \.astype\("),
        ([np.array([b"no"]), np.array([b"a"])], "these are bytes"),
        ([b"no"], "these are bytes"),
        (np.array([1.5]), "must be strings or lists of strings; got double"),
        (np.zeros((2, 2, 2, 2), "U1"), "must be strings or lists of strings; got list<"),
        (np.array(["a", 1], object), "must be strings or lists of strings: "),
        ([["a"], "b"], "must be strings or lists of strings: "),
        ("no", "got str: put one word into a list"),
        (np.array("no"), "got str: put one word into a list"),
        (None, "got NoneType"),
    ],
)
def test_what_is_no_word_says_what_to_do(words, message):
    with pytest.raises(rm.UnsupportedTypeError, match=message):
        rm.Vocabulary(["a"]).encode(words)
    with pytest.raises(rm.UnsupportedTypeError, match=message):
        rm.Vocabulary.build(words)


def test_wordnet():
    stream = rm.stream(GLOSSES)
    vocabulary = rm.Vocabulary.build(stream, "tokens")
    assert (len(vocabulary), vocabulary.words[1:4]) == (56_953, ["the", "a", "of"])
    steps = unknown = 0
    for batch in stream.batch(rows=10_000):
        ids = vocabulary.encode(batch["tokens"])
        assert vocabulary.decode(ids[:50]).to_pylist() == batch["tokens"].to_pylist()[:50]
        steps += ids.n_steps
        unknown += int((ids.values < 2).sum())
    assert (steps, unknown) == (1_700_539, 0)


def test_string_offsets_that_leave_the_text_are_refused():
    offsets = np.array([0, 500_000_000, 3], np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"abc")]
    strings = pa.Array.from_buffers(pa.string(), 2, buffers)
    lists = pa.ListArray.from_arrays([0, 2], strings)
    for array in (strings, lists):
        with pytest.raises(rm.InvalidInputError):
            rm.Vocabulary(["a"]).encode(array)
        with pytest.raises(rm.InvalidInputError):
            rm.Vocabulary.build(array)
    structs = pa.ListArray.from_arrays([0, 2], pa.StructArray.from_arrays([strings], ["word"]))
    with pytest.raises(rm.StreamError, match="is broken"):
        rm.stream(pa.table({"words": structs}))


def test_an_unknown_id_past_max_size_is_refused():
    with pytest.raises(ValueError, match="max_size must be at least 51"):
        rm.Vocabulary.build(pa.array(["a", "b"]), max_size=5, unknown_id=50)
