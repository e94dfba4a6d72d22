"""Rows of rows in ops, layers and all that takes a Ragged: inside each inner row, or refused."""

import inspect
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask.batches.joining import concatenate
from tests import reference
from tests.interpreters import ROOT
from tests.operations import OPERATIONS
from tests.strategies import fewer, lists_of, nested_rows_of, nesteds

pytestmark = pytest.mark.slow  # each op, and what it compiles

GLOSSES = ROOT / "examples" / "data" / "wordnet_glosses.parquet"
HOWS = ("mean", "sum", "max", "first", "last")
LAYOUTS = nesteds(dtypes=("uint8",), item_shapes=[()], tame=True)
few_examples = fewer(5)  # of each op


def drawn(operation, layout, seed=0):
    """Steps as an op takes them, in the places of a layout; garbage where no step counts."""
    outer, inner = layout._parts
    random = np.random.default_rng(seed)
    values = operation.draw(random, len(inner.values))
    if inner.mask is not None:
        values[~inner.mask] = operation.garbage
    rows = rm.Ragged(values, inner.starts, inner.lengths, inner.mask)
    return rm.NestedRagged(rows, outer.starts, outer.lengths, outer.mask)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
@few_examples
@given(layout=LAYOUTS)
def test_an_op_does_to_inner_rows_what_it_does_to_rows(operation, layout):
    nested = drawn(operation, layout)
    steps, entries = operation.run(nested)
    expected, arrays = operation.run(nested.inner)
    if expected is not None:
        assert type(steps) is rm.NestedRagged
        assert steps.lengths.tolist() == nested.lengths.tolist()
        assert outcome_of(steps.inner) == outcome_of(expected)
        assert kept_of(steps) == kept_of(nested)
    for entry, array in zip(entries, arrays, strict=True):
        assert type(entry) is rm.Ragged
        assert entry.lengths.tolist() == nested.lengths.tolist()
        assert entry.values.tobytes() == np.ascontiguousarray(array).tobytes()
        assert kept_of(nested) == (None if entry.mask is None else entry.mask.tolist())


def outcome_of(batch):
    """The bits of each row's kept steps."""
    return [np.ma.compressed(row).tobytes() for row in batch]


def kept_of(nested):
    mask = nested.outer.mask
    return None if mask is None else mask.tolist()


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
@few_examples
@given(layout=LAYOUTS, seed=st.integers(0, 99))
def test_the_same_inner_rows_give_the_same_bits_wherever_they_lie(operation, layout, seed):
    nested = drawn(operation, layout, seed)
    runs = [operation.run(one) for one in (nested, nested.compact())]
    (steps, entries), (again, same) = runs
    if steps is not None:
        assert outcome_of(steps.inner) == outcome_of(again.inner)
    for one, other in zip(entries, same, strict=True):
        assert one.values.tobytes() == other.values.tobytes()
    alone = [operation.run(nested[[row]]) for row in range(len(nested))]
    for row, (its_steps, its_entries) in enumerate(alone):
        if steps is not None:
            assert outcome_of(its_steps[0]) == outcome_of(steps[row])
        for one, other in zip(entries, its_entries, strict=True):
            assert np.ma.getdata(one[row]).tobytes() == np.ma.getdata(other[0]).tobytes()


@given(nesteds(dtypes=("float64",), item_shapes=[(), (3,)], tame=True), st.sampled_from(HOWS))
def test_pooling_twice_is_the_reference(nested, how):
    features = int(np.prod(nested.item_shape))
    pooled = rm.temporal_pool(nested, how)
    steps, keeps = lists_of(nested.inner)
    inner = reference.temporal_pool(steps, keeps, how, features)
    np.testing.assert_allclose(
        pooled.values.reshape(len(inner), features), np.reshape(inner, (len(inner), features))
    )
    rows, masks = lists_of(pooled)
    twice = rm.temporal_pool(pooled, how)
    expected = reference.temporal_pool(rows, masks, how, features)
    np.testing.assert_allclose(twice, np.reshape(expected, (len(nested), *nested.item_shape)))
    assert masks == nested_rows_of(nested)[2]


def test_pooling_from_the_inside_out():
    nested = rm.NestedRagged.from_rows([[[1.0, 3.0], [5.0]], [], [[2.0, 4.0, 6.0], []]])
    means = rm.temporal_pool(nested, "mean")
    assert [row.tolist() for row in means] == [[2, 5], [], [4, 0]]
    assert rm.temporal_pool(means, "mean").tolist() == [3.5, 0, 2]
    assert rm.temporal_pool(rm.temporal_pool(nested, "sum"), "max").tolist() == [5, 0, 12]
    assert rm.temporal_pool(nested.outer, "sum").tolist() == [3, 0, 3]


def test_null_inner_lists_are_left_out_of_the_second_pooling_alone():
    array = pa.array([[[1.0, 3.0], None, []], None, [None]])
    means = rm.temporal_pool(rm.Ragged.from_arrow(array), "mean")
    assert means.to_arrow().to_pylist() == [[2, None, 0], None, [None]]
    assert rm.temporal_pool(means, "mean").tolist() == [1, 0, 0]


def test_states_of_inner_rows_are_steps_for_the_next_level():
    random = np.random.default_rng(0)
    words = rm.NestedRagged.from_rows([[[1, 2, 3], [4]], [], [[5, 0]]])
    table = random.standard_normal((6, 4)).astype(np.float32)
    inner = rm.LSTMWeights(*(random.random(shape) for shape in rm.LSTMWeights.shapes(4, 8)))
    outer = rm.GRUWeights(*(random.random(shape) for shape in rm.GRUWeights.shapes(8, 3)))
    sentences = rm.lstm(rm.embedding(words, table), inner, outputs=False)
    assert sentences.outputs is None
    documents = rm.gru(sentences.h, outer)
    assert documents.h.shape == (3, 3)
    alone = rm.lstm(table[[[1, 2, 3]]], inner).h, rm.lstm(table[[[4]]], inner).h
    expected = rm.gru(np.concatenate(alone)[None], outer).h
    np.testing.assert_array_equal(documents.h[:1], expected)


# -- masks and out ------------------------------------------------------------------------


def test_a_mask_is_nested_too_or_flat():
    nested = rm.NestedRagged.from_rows([[[1.0, 2.0], [3.0]], [], [[4.0, 5.0]]])[::-1]
    mask = nested != 4
    expected = [[5], [], [3, 3]]
    for one in (mask, mask.inner, mask.inner.compact().values):
        pooled = rm.temporal_pool(nested, "sum", mask=one)
        assert [row.tolist() for row in pooled] == expected
        assert rm.temporal_softmax(nested, mask=one).inner.mask.tolist() == [False, *[True] * 4]
    with pytest.raises(rm.InvalidInputError, match="x and its mask differ in row 0: 1 steps and 2"):
        rm.temporal_pool(nested, mask=mask[::-1])
    with pytest.raises(rm.InvalidInputError, match="differ in row 0"):
        rm.temporal_pool(nested, mask=(nested * 0 == 0).with_inner(nested.inner[::-1] == 0))
    with pytest.raises(rm.UnsupportedTypeError, match="takes no NestedRagged"):
        rm.temporal_pool(nested.inner, mask=mask)


def test_out_is_flat():
    nested = rm.NestedRagged.from_rows([[[1, 2], [3]], [], [[4]]])
    out = np.zeros(4, np.int64)
    sums = rm.temporal_cumsum(nested, out=out)
    assert np.shares_memory(sums.inner.values, out)
    assert out.tolist() == [1, 3, 3, 4]
    with pytest.raises(rm.InvalidInputError):
        rm.temporal_cumsum(nested, out=np.zeros((3, 2), np.int64))


# -- several batches ----------------------------------------------------------------------


def test_splitting_and_joining_inner_rows_in_time():
    nested = rm.NestedRagged.from_rows([[[1, 2, 3, 4], [5]], [], [[6, 7, 8]]])[::-1]
    parts = rm.temporal_split(nested, 2)
    assert [[row.tolist() for row in part.inner] for part in parts] == [
        [[6, 7], [1, 2], [5]],
        [[8], [3, 4], []],
    ]
    assert all(np.shares_memory(part.inner.values, nested.inner.values) for part in parts)
    joined = rm.temporal_concat(parts)
    assert repr(joined) == repr(nested)
    copied = rm.temporal_concat([nested, nested * 10])
    assert copied[0][0].tolist() == [6, 7, 8, 60, 70, 80]
    with pytest.raises(rm.InvalidInputError, match="part 0 and part 1 differ in row 0"):
        rm.temporal_concat([nested, nested[::-1]])
    with pytest.raises(rm.UnsupportedTypeError, match="one kind; got NestedRagged, Ragged"):
        rm.temporal_concat([nested, nested.inner])


def test_an_inner_row_is_masked_where_all_its_parts_are():
    inner = rm.Ragged.from_rows([[1], [2], [3]])
    one = rm.NestedRagged.from_offsets(inner, [0, 2, 3], [True, False, False])
    other = rm.NestedRagged.from_offsets(inner, [0, 2, 3], [False, False, True])
    assert kept_of(rm.temporal_concat([one, other])) == [True, False, True]
    bare = rm.NestedRagged.from_offsets(inner, [0, 2, 3])
    assert kept_of(rm.temporal_concat([one, bare])) is None


@given(st.lists(nesteds(dtypes=("int16",), item_shapes=[(2,)]), min_size=1, max_size=3))
def test_rows_of_several_batches_in_one(batches):
    rows = nested_rows_of(concatenate(batches))
    parts = [nested_rows_of(batch) for batch in batches]
    assert rows == tuple([row for part in parts for row in part[level]] for level in range(3))


def test_rows_of_several_batches_keep_their_type():
    array = pa.array([[[1], None], None], pa.large_list(pa.list_view(pa.int32())))
    nested = rm.Ragged.from_arrow(array)
    both = concatenate([nested, nested[::-1]]).to_arrow()
    assert (both.type, both.to_pylist()) == (array.type, [[[1], None], None, None, [[1], None]])
    with pytest.raises(rm.UnsupportedTypeError, match="with others of its kind"):
        concatenate([nested, nested.inner])


# -- words --------------------------------------------------------------------------------

WORDS = [[["a", "cat"], ["a", None, "dog"]], [], [None, ["cat"], []]]


@pytest.mark.parametrize("make", [pa.list_, pa.large_list, pa.list_view])
@pytest.mark.parametrize("words", [pa.string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_documents_of_sentences_of_words(make, words):
    array = pa.array(WORDS, pa.list_(pa.list_(pa.string())))
    array = rm.arrow.to_type(array, make(pa.list_(words)))
    vocabulary = rm.Vocabulary.build(array)
    assert vocabulary.words == ["a", "cat", "dog"]
    for given_words in (array, pa.chunked_array([array[:1], array[1:]]), WORDS):
        ids = vocabulary.encode(given_words)
        assert type(ids) is rm.NestedRagged
        expected = [[[2, 3], [2, None, 4]], [], [None, [3], []]]
        assert ids.to_arrow().to_pylist() == expected
    back = vocabulary.decode(ids[::-1]).to_pylist()
    assert back == [[[], ["cat"], []], [], [["a", "cat"], ["a", None, "dog"]]]
    sliced = vocabulary.encode(array[2:])
    assert sliced.to_arrow().to_pylist() == [[None, [3], []]]
    hidden = pa.ListArray.from_arrays([0, 1, 2], pa.array([["a"], ["secret"]]))[:1]
    assert rm.Vocabulary.build(hidden).words == ["a"]


def test_wordnets_glosses_as_phrases_of_words():
    tokens = pq.read_table(GLOSSES)["tokens"].slice(0, 5_000)
    glosses = tokens.to_pylist()
    phrases = []
    for gloss in glosses:  # phrases end with a semicolon
        ends = [place + 1 for place, word in enumerate(gloss) if word == ";"]
        places = pairwise([0, *ends, len(gloss)])
        phrases.append([gloss[first:last] for first, last in places])
    vocabulary = rm.Vocabulary.build(tokens)
    nested, flat = vocabulary.encode(phrases), vocabulary.encode(tokens)
    assert nested.inner.compact().values.tolist() == flat.compact().values.tolist()
    assert vocabulary.decode(nested).to_pylist() == phrases
    sums = rm.temporal_pool(rm.temporal_pool(nested, "sum"), "sum")
    assert sums.tolist() == rm.temporal_pool(flat, "sum").tolist()


def test_words_three_levels_deep_are_refused():
    for function in (rm.Vocabulary.build, rm.Vocabulary(["a"]).encode):
        with pytest.raises(rm.UnsupportedTypeError, match="lists of strings; got list<"):
            function([[[["a"]]]])


# -- what was not taught ------------------------------------------------------------------

NESTED = rm.NestedRagged.from_rows([[[1.0, 2.0], [3.0]], [], [[4.0, 5.0, 6.0], [], [7.0]]])
VECTORS = NESTED.with_inner(NESTED.inner.with_values(np.ones((7, 2))))
FUNCTIONS = [
    name
    for name in rm._HOME
    if inspect.isfunction(getattr(rm, name)) and name != "stream"  # which takes paths
]


def flattened(results):
    """A function's results one by one, out of any tuples, and without what was left out."""
    if isinstance(results, list | tuple):
        return [one for result in results for one in flattened(result)]
    return [] if results is None else [results]


CALLS = {
    "one": lambda x: (x,),
    "a list": lambda x: ([x, x],),
    "a number": lambda x: (x, 2),
    "two": lambda x: (x, x),
    "three": lambda x: (x, x, x),
    "an array first": lambda x: (np.arange(5.0), x),
    "an array": lambda x: (x, np.ones((8, 2))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "batch", [NESTED, VECTORS, NESTED != 0], ids=["numbers", "vectors", "bools"]
)
def test_functions_work_inside_inner_rows_or_refuse(name, batch):
    function = getattr(rm, name)
    for call, arguments in CALLS.items():
        try:
            inspect.signature(function).bind(*arguments(batch))
        except TypeError:
            continue  # it takes others
        try:
            results = flattened(function(*arguments(batch)))
        except (rm.UnsupportedTypeError, rm.InvalidInputError):
            continue
        expected = flattened(function(*arguments(batch.inner)))
        for result, flat in zip(results, expected, strict=True):
            if isinstance(flat, rm.Ragged):
                assert type(result) is rm.NestedRagged, call
                assert repr(result.inner) == repr(flat), call
            else:
                assert type(result) is rm.Ragged, call
                assert result.values.tolist() == flat.tolist(), call
            times = len(result) // len(batch)
            assert result.lengths.tolist() == batch.lengths.tolist() * times, call


ARGUMENTS = {
    "from_offsets": (rm.Ragged.from_rows([[1]]), [0, 1]),
    "from_rows": ([[[1]]],),
    "from_arrow": (pa.array([[[1]]]),),
    "from_padded": (np.ones((2, 2)),),
    "with_values": (np.ones(7),),
}


@pytest.mark.parametrize("name", [name for name in dir(rm.Ragged) if not name.startswith("_")])
def test_what_a_ragged_has_works_or_says_what_to_do(name):
    try:
        found = getattr(NESTED, name)
        if callable(found):
            needed = inspect.signature(found).parameters.values()
            ones = [1 for one in needed if one.default is one.empty]
            found(*ARGUMENTS.get(name, ones))
    except rm.UnsupportedTypeError as error:
        told = str(error)
    else:  # what is inherited knows of one level alone
        told = "NestedRagged" if name in vars(rm.NestedRagged) else ""
    assert "NestedRagged" in told


def layers():
    arguments = {
        "Activation": ("relu",),
        "AlphaDropout": (0.5,),
        "Dense": (2,),
        "Dot": (-1,),
        "Dropout": (0.5,),
        "Embedding": (6, 3),
        "EinsumDense": ("abc,cd->abd", (None, 2)),
        "GaussianDropout": (0.5,),
        "GaussianNoise": (0.5,),
        "MultiHeadAttention": (1, 2),
        "RepeatVector": (2,),
        "SpatialDropout1D": (0.5,),
        "TemporalSplit": (3,),
        **dict.fromkeys(("LSTM", "GRU", "SimpleRNN"), (2,)),
    }
    wrapped = ("Bidirectional", "TimeDistributed")
    for name in rm.layers.__all__:
        kind = getattr(rm.layers, name)
        if name in wrapped:
            yield name, kind(rm.layers.LSTM(2) if name == wrapped[0] else rm.layers.Dense(2))
        elif isinstance(kind, type) and issubclass(kind, rm.layers.Layer):
            try:
                yield name, kind(*arguments.get(name, ()))
            except (TypeError, ValueError):
                continue  # it holds cells, or other layers


@pytest.mark.parametrize(("name", "layer"), [pytest.param(*one, id=one[0]) for one in layers()])
def test_layers_work_inside_inner_rows_or_refuse(name, layer):
    ids = VECTORS.with_inner(VECTORS.inner.with_values(np.ones(7, int)))
    batch = ids if name == "Embedding" else VECTORS
    module = type(layer).__module__
    joins = "merging" in module or "attention" in module or name == "TemporalConcat"
    pair = (batch, batch) if name == "MultiHeadAttention" else ([batch, batch],)
    try:
        got = layer(*pair) if joins else layer(batch)
    except (rm.UnsupportedTypeError, NotImplementedError):
        return
    except rm.InvalidInputError:
        assert name in ("PReLU", "Dot")  # whose arguments fit no batch of any lengths
        return
    for one in got if isinstance(got, list) else [got]:
        assert type(one) is rm.NestedRagged
        assert one.lengths.tolist() == NESTED.lengths.tolist()
