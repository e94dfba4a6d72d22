"""Streams under Keras's fit, evaluate and predict; tests/peers run Keras on JAX."""

import copy
import json
import pickle
import subprocess
import sys
from itertools import chain, islice, pairwise

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import ragmask as rm
from ragmask.data import JAPANESE_VOWELS
from ragmask.interop.keras import StreamDataset
from tests.interpreters import ROOT

ROWS, WORDS = 90, 12
WAYS = {
    "rows": {"rows": 16},
    "rounded rows": {"rows": 16, "multiple_of": 4, "rows_multiple": 8},
    "buckets": {"rows": 16, "bucket": True, "column": "ids", "multiple_of": 4},
    "tokens": {"tokens": 64, "column": "ids"},
    "rounded tokens": {"tokens": 64, "column": "ids", "multiple_of": 4, "rows_multiple": 4},
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 9, ROWS).tolist()
    ids = [rng.integers(1, WORDS, length).tolist() for length in lengths]
    table = pa.table(
        {
            "ids": pa.array(ids, pa.list_(pa.int32())),
            "tags": [[word % 3 for word in row] for row in ids],
            "gaps": [[None if word == 3 else word for word in row] for row in ids],
            "few": [row[:2] for row in ids],
            "frames": pa.array(
                [[[float(word), 1.0] for word in row] for row in ids],
                pa.list_(pa.list_(pa.float32(), 2)),
            ),
            "label": pa.array(range(ROWS), pa.int16()),
            "weight": np.linspace(0.5, 1.5, ROWS),
            "weights": [[1.0 + step for step in range(length)] for length in lengths],
            "pair": pa.array([[row, -row] for row in range(ROWS)], pa.list_(pa.float32(), 2)),
            "name": [f"row {row}" for row in range(ROWS)],
            "holes": [None if row == 41 else row for row in range(ROWS)],
            "day": np.arange(ROWS).astype("datetime64[D]"),
            "words": [[str(word) for word in row] for row in ids],
            "spans": [[{"a": word, "b": "x"} for word in row] for row in ids],
        }
    )
    path = tmp_path_factory.mktemp("data") / "rows.parquet"
    pq.write_table(table, path, row_group_size=25)
    return path


class Recorded(StreamDataset):
    """What Keras was given, and the state after it."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.given, self.states = [], []

    def __getitem__(self, index):
        arrays = super().__getitem__(index)
        self.given.append(arrays)
        self.states.append(json.loads(json.dumps(self.state_dict())))
        return arrays

    def rows(self, first=0, last=None):
        """The labels of the rows that count."""
        return [rows_of(*batch) for batch in self.given[first:last]]


def rows_of(x, y, weights=None):
    return y[slice(None) if weights is None else weights > 0].tolist()


def pooled(units=1, **options):
    """A model that compiles fast and reads no padding."""
    ids = keras.Input((None,), dtype="int32", name="ids")
    steps = keras.layers.Embedding(WORDS, 4, mask_zero=True)(ids)
    model = keras.Model(ids, keras.layers.Dense(units)(Mean()(steps)))
    model.compile(keras.optimizers.SGD(0.0001), loss="mse", **options)
    return model


class Idle(keras.Model):
    """Takes batches as Keras hands them out, and compiles nothing."""

    def train_step(self, state, data):
        return {"loss": 0.0}, state

    def test_step(self, state, data):
        return {"loss": 0.0}, (state[0], state[1], state[2])


def idle():
    ids = keras.Input((None,), dtype="int32", name="ids")
    model = Idle(ids, keras.ops.cast(ids, "float32")[:, :1])
    model.compile(loss="mse", weighted_metrics=["mse"], run_eagerly=True, jit_compile=False)
    return model


def weights_of(model):
    return [keras.ops.convert_to_numpy(weight.value) for weight in model.weights]


class Mean(keras.layers.Layer):
    """The mean of the steps that count, 0 of none."""

    supports_masking = True

    def call(self, x, mask=None):
        kept = keras.ops.cast(mask, x.dtype)[..., None]
        return keras.ops.sum(x * kept, 1) / (keras.ops.sum(kept, 1) + 1e-6)

    def compute_mask(self, x, mask=None):
        return None


def stream_of(path, seed=0, window_rows=100, **batch):
    return rm.stream(path).shuffle(seed, window_rows).batch(**(batch or {"rows": 16}))


def epochs_of(path, number, **options):
    """The rows of each batch of the stream's epochs."""
    stream = stream_of(path, **options)
    return [[batch.row_ids.tolist() for batch in stream] for _ in range(number)]


def joined(batches):
    return list(chain.from_iterable(batches))


def quiet(**options):
    return {"verbose": 0, **options}


# -- fit ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("workers", [1, 3])
def test_each_epoch_of_a_fit_is_one_of_the_streams_in_its_order(path, way, workers):
    dataset = Recorded(stream_of(path, **WAYS[way]), x="ids", y="label", workers=workers)
    expected = epochs_of(path, 3, **WAYS[way])
    batches = len(expected[0])
    assert len(dataset) == batches
    model = idle()
    assert model.built  # but its metrics are not: Keras looks at a batch, and asks for it again
    model.fit(dataset, **quiet(epochs=3, shuffle=True))
    assert dataset.rows()[:1] == expected[0][:1]
    fitted = dataset.rows()[1:]
    assert [fitted[:batches], fitted[batches : 2 * batches], fitted[2 * batches :]] == expected
    assert dataset.row_ids.tolist() == joined(expected[2])
    assert dataset.state_dict()["epoch"] == 3
    assert len({tuple(joined(epoch)) for epoch in expected}) == 3

    model.fit(dataset, **quiet(epochs=1, shuffle=False))  # and the next fit goes on
    assert dataset.rows()[1 + 3 * batches :] == epochs_of(path, 4, **WAYS[way])[3]


def test_epochs_that_differ_in_batches_lose_no_row(path):
    batch = {"tokens": 40, "column": "ids", "bucket": False, "window_rows": 30}
    expected = epochs_of(path, 12, **batch)
    assert len({len(epoch) for epoch in expected}) > 1
    dataset = Recorded(stream_of(path, **batch), x="ids", y="label")
    idle().fit(dataset, **quiet(epochs=9))
    fitted = dataset.rows()[1:]
    assert len(fitted) == 9 * len(expected[0])
    assert fitted == joined(expected)[: len(fitted)]
    # a look at the data begins with a whole epoch again
    assert sorted(joined(rows_of(*arrays) for arrays in dataset)) == list(range(ROWS))


def test_fewer_steps_an_epoch_go_on_in_the_next(path):
    dataset = Recorded(stream_of(path), x="ids", y="label")
    idle().fit(dataset, **quiet(epochs=5, steps_per_epoch=2))
    assert dataset.rows()[1:] == joined(epochs_of(path, 2))[:10]


def test_a_fit_that_was_left_begins_its_epoch_anew_unless_told_to_go_on(path):
    class Stop(keras.callbacks.Callback):
        def __init__(self, after, how):
            super().__init__()
            self.after, self.how = after, how

        def on_train_batch_end(self, batch, logs=None):
            if batch == self.after:
                if self.how is not None:
                    raise self.how("enough")
                self.model.stop_training = True

    expected = epochs_of(path, 2)
    model = idle()
    dataset = Recorded(stream_of(path), x="ids", y="label")
    with pytest.raises(KeyError, match="enough"):
        model.fit(dataset, callbacks=[Stop(2, KeyError)], **quiet())
    model.fit(dataset, callbacks=[Stop(1, None)], **quiet())
    dataset.given.clear()
    model.fit(dataset, **quiet())
    assert dataset.rows() == expected[0]

    model.fit(dataset, callbacks=[Stop(1, None)], **quiet())
    dataset.given.clear()
    dataset.load_state_dict(dataset.state_dict())
    assert len(dataset) == len(expected[1]) - 2
    with pytest.warns(UserWarning, match="ran out of data"):
        model.fit(dataset, **quiet(epochs=1))
    assert dataset.rows() == expected[1][2:]


@pytest.mark.parametrize(("way", "workers"), [("rounded rows", 1), ("rounded tokens", 2)])
def test_a_training_that_was_killed_resumes_to_the_same_weights(path, way, workers):
    def start():
        keras.utils.set_random_seed(0)
        return pooled(), Recorded(stream_of(path, **WAYS[way]), "ids", "label", workers=workers)

    model, whole = start()
    model.fit(whole, **quiet(epochs=3))

    killed, dataset = start()
    epoch, stop = len(whole.given[1:]) // 3, 2

    class Kill(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == stop and len(dataset.given) > epoch + 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed.fit(dataset, callbacks=[Kill()], **quiet(epochs=3))
    checkpoint = weights_of(killed), json.loads(json.dumps(dataset.state_dict()))
    assert checkpoint[1]["epoch"] == 1

    resumed, rest = start()
    resumed.set_weights(checkpoint[0])
    rest.load_state_dict(checkpoint[1])
    assert len(rest) == epoch - stop - 1
    with pytest.warns(UserWarning, match="ran out of data"):  # Keras expects a whole epoch
        resumed.fit(rest, **quiet(epochs=3, initial_epoch=1))
    assert rest.rows()[1:] == whole.rows()[2 + epoch + stop :]
    for one, other in zip(weights_of(model), weights_of(resumed), strict=True):
        assert np.array_equal(one, other)


def test_every_state_says_what_is_left(path):
    stream = {"tokens": 40, "column": "ids"}
    dataset = Recorded(stream_of(path, **stream), x="ids", y="label", workers=2)
    idle().fit(dataset, **quiet())
    expected = epochs_of(path, 2, **stream)
    for seen, state in enumerate(dataset.states[1:], 1):
        other = StreamDataset(stream_of(path, **stream), x="ids", y="label")
        other.load_state_dict(state)
        left = expected[0][seen:] or expected[1]
        assert len(other) == len(left)
        assert [rows_of(*arrays) for arrays in other] == left
        # and so where a stream was loaded before it was wrapped
        loaded = stream_of(path, **stream)
        loaded.load_state_dict(state)
        assert [rows_of(*arrays) for arrays in StreamDataset(loaded, "ids", "label")] == left


def test_states_are_known_after_batches_by_number_where_keras_fetches_ahead(path):
    dataset = Recorded(stream_of(path, rows=4), x="ids", y="label")
    batches = iter(dataset)
    for _ in range(20):
        next(batches)
    states = [dataset.state_dict(batch) for batch in range(4, 20)]
    assert states[-1] == dataset.state_dict()
    expected = epochs_of(path, 1, rows=4)[0]
    for batch, state in enumerate(states, 4):
        dataset.load_state_dict(state)
        assert rows_of(*next(iter(dataset))) == expected[batch + 1]
    for unknown in (3, 20, -1):
        with pytest.raises(rm.InvalidInputError, match=f"after batch {unknown} is not known"):
            dataset.state_dict(unknown)


@pytest.mark.parametrize("taken", [0, 1, 3, 5, 6, 8])
@pytest.mark.parametrize("workers", [1, 2])
def test_copies_go_on_by_themselves_from_where_the_dataset_stands(path, taken, workers):
    """Of passes that were resumed, are under way, or are over, in an epoch or between two."""
    stream = stream_of(path, tokens=64, column="ids")
    dataset = StreamDataset(stream, "ids", "label", workers=workers)
    dataset.load_state_dict([batch.state for batch in islice(stream, 2)][-1])
    size = len(dataset)
    assert 3 < size < 8
    for number in range(taken):
        if number % size == 0:
            dataset._begin()
        dataset[number]
    ways = [copy.copy, copy.deepcopy, lambda given: pickle.loads(pickle.dumps(given))]
    begin_anew, go_on = ([way(dataset) for way in ways] for _ in range(2))
    for one in (*begin_anew, *go_on):
        assert one.state_dict() == dataset.state_dict()
    if taken % size:
        expected = [rows_of(*dataset[0]) for _ in range(size - taken % size)]
        for one in go_on:
            assert [rows_of(*one[0]) for _ in expected] == expected
        dataset = begin_anew.pop()
    expected = [rows_of(*arrays) for arrays in chain(dataset, dataset)]
    for one in begin_anew:
        assert [rows_of(*arrays) for arrays in chain(one, one)] == expected


def test_an_older_keras_is_refused_in_words(path, monkeypatch):
    monkeypatch.setattr(keras, "__version__", "3.6.2")
    with pytest.raises(rm.MissingExtraError, match=r"needs Keras 3\.7 or later"):
        StreamDataset(rm.stream(path).batch(8), "ids")


def test_an_epoch_is_set(path):
    dataset = StreamDataset(stream_of(path), x="ids", y="label")
    dataset.set_epoch(2)
    assert [rows_of(*arrays) for arrays in dataset] == epochs_of(path, 3)[2]
    assert dataset.state_dict()["epoch"] == 3


def test_validation_by_a_split_looks_at_the_same_rows_each_epoch(path):
    parts = rm.stream(path).shuffle(0).split({"train": 0.7, "valid": 0.3}, seed=1)
    train, valid = (
        Recorded(part.batch(tokens=40, column="ids", bucket=False), x="ids", y="label")
        for part in parts.values()
    )
    model = idle()
    model.fit(train, validation_data=valid, **quiet(epochs=3))
    own = {name: sorted(b for batch in part.batch() for b in batch.row_ids.tolist())
           for name, part in parts.items()}  # fmt: skip
    assert sorted(own["train"] + own["valid"]) == list(range(ROWS))
    assert sorted(joined(valid.rows())) == sorted(own["valid"] * 3)
    assert sorted({*joined(train.rows())}) == own["train"]


def test_steps_are_run_several_at_once(path):
    dataset = Recorded(stream_of(path, rows=16, multiple_of=8, rows_multiple=16), "ids", "label")
    model = pooled(steps_per_execution=2)
    model.fit(dataset, **quiet(epochs=2))
    assert dataset.rows()[1:] == joined(epochs_of(path, 2))


def test_a_model_that_was_never_built_loses_no_batch(path):
    model = keras.Sequential([keras.layers.Embedding(WORDS, 4, mask_zero=True), Mean()])
    model.add(keras.layers.Dense(1))
    model.compile("sgd", loss="mse")
    dataset = Recorded(stream_of(path), x="ids", y="label")
    model.fit(dataset, **quiet())
    assert dataset.rows()[1:] == epochs_of(path, 1)[0]


# -- evaluate and predict -----------------------------------------------------------------


@pytest.mark.parametrize("way", ["rounded rows", "buckets", "rounded tokens"])
def test_predictions_are_those_of_each_row_alone_and_of_no_other(path, way):
    model = pooled(2)
    stream = stream_of(path, **WAYS[way])
    expected = joined(epochs_of(path, 1, **WAYS[way])[0])
    rows = rm.stream(path).to_arrow()["ids"].to_pylist()
    alone = model.predict(rm.Ragged.from_rows(rows, np.int32).to_padded().values, **quiet())
    for y in (None, "label"):
        dataset = StreamDataset(stream, x="ids", y=y)
        dataset.set_epoch(0)
        assert np.allclose(model.predict(dataset, **quiet()), alone[expected], atol=1e-6)
        assert dataset.row_ids.tolist() == expected


def test_predictions_after_a_fit_and_before_another(path):
    model = pooled()
    dataset = Recorded(stream_of(path, rows=16, rows_multiple=64), x="ids", y="label")
    for _ in range(2):
        model.fit(dataset, **quiet())
        assert {len(y) for _, y, _ in dataset.given[-6:]} == {64}
        assert model.predict(dataset, **quiet()).shape == (ROWS, 1)
        assert model.evaluate(dataset, **quiet()) > 0
        assert {len(y) for _, y, _ in dataset.given[-6:]} == {64}


def test_looking_at_part_of_the_data_begins_at_the_same_place_each_time(path):
    model = pooled()
    dataset = Recorded(rm.stream(path).batch(16), x="ids", y="label")
    losses = [model.evaluate(dataset, **quiet(steps=2)) for _ in range(3)]
    assert len({*losses}) == 1
    assert model.predict(dataset, **quiet(steps=3)).shape == (48, 1)
    assert dataset.row_ids.tolist() == list(range(48))
    assert model.predict(dataset, **quiet()).shape == (ROWS, 1)


@pytest.mark.parametrize("masked", [True, False])
def test_what_pads_weighs_nothing_in_losses_and_metrics(path, masked):
    """A value a step: the same loss whatever the shape, and that of a plain loop over rows."""
    ids = keras.Input((None,), dtype="int32")
    steps = keras.layers.Embedding(WORDS, 3, mask_zero=masked)(ids)
    model = keras.Model(ids, keras.layers.Dense(3)(steps))
    loss = keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction="mean_with_sample_weight"
    )
    model.compile("sgd", loss=loss, weighted_metrics=["sparse_categorical_accuracy"])
    batch = next(iter(rm.stream(path).batch(ROWS)))
    total = right = weight = 0.0
    (table,), (kernel, bias) = map(weights_of, model.layers[1:])
    rows = zip(batch["ids"], batch["tags"], batch["weights"], strict=True)
    for words, tags, weights in rows:
        logits = table[words] @ kernel + bias
        chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        total += (-np.log(chances[np.arange(len(words)), tags]) * weights).sum()
        right += ((logits.argmax(1) == tags) * weights).sum()
        weight += weights.sum()
    for rounding in ({}, {"multiple_of": 16, "rows_multiple": 128}):
        dataset = StreamDataset(
            rm.stream(path).batch(ROWS, **rounding), "ids", "tags", sample_weight="weights"
        )
        found, accuracy = model.evaluate(dataset, **quiet())
        assert found == pytest.approx(total / weight, rel=1e-5)
        assert accuracy == pytest.approx(right / weight, rel=1e-5)


def test_padding_rows_do_not_move_weights(path):
    def trained(**batch):
        keras.utils.set_random_seed(1)
        model = pooled()
        model.compile(
            keras.optimizers.SGD(0.001),
            loss=keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"),
        )
        dataset = StreamDataset(stream_of(path, **batch), "ids", "label", "weight")
        model.fit(dataset, **quiet(epochs=2))
        return weights_of(model)

    plain, rounded = trained(rows=20), trained(rows=20, multiple_of=16, rows_multiple=32)
    for one, other in zip(plain, rounded, strict=True):
        assert np.allclose(one, other, rtol=1e-4, atol=1e-5)


def test_class_weights_are_keras_own(path):
    model = pooled()
    dataset = StreamDataset(rm.stream(path).batch(ROWS), x="ids", y="label")
    losses = [
        model.fit(dataset, class_weight=given, **quiet()).history["loss"][0]
        for given in (dict.fromkeys(range(ROWS), 0.0), None)
    ]
    assert losses[0] == 0 < losses[1]
    with pytest.raises(ValueError, match="`y` should not be passed"):
        model.fit(dataset, np.zeros(ROWS), **quiet())


# -- what a model is given ----------------------------------------------------------------


def first(path, x, y=None, sample_weight=None, rows=4, **options):
    batch = {name: options.pop(name) for name in [*options] if name.endswith("multiple")}
    batch |= {name: options.pop(name) for name in [*options] if name == "multiple_of"}
    stream = rm.stream(path).batch(rows, **batch)
    arrays = next(iter(StreamDataset(stream, x, y, sample_weight, **options)))
    return arrays, next(iter(rm.stream(path).batch(rows)))


def test_inputs_and_outputs_are_arranged_as_they_are_named(path):
    x = {"words": "ids", "more": ["frames", ("pair", "label")]}
    (given, y), batch = first(path, x, {"a": "label", "b": ["pair"]})
    width = batch["ids"].max_length
    assert given["words"].shape == (4, width)
    assert given["more"][0].shape == (4, width, 2)
    assert given["more"][0].dtype == np.float32
    assert given["more"][1][0].tolist() == [[row, -row] for row in range(4)]
    assert given["more"][1][1].tolist() == y["a"].tolist() == list(range(4))
    assert y["b"][0].shape == (4, 2)
    for row, words in enumerate(batch["ids"]):
        assert given["words"][row, : len(words)].tolist() == words.tolist()
        assert not given["words"][row, len(words) :].any()


def test_shapes_are_rounded_up(path):
    (x, y, weights), _ = first(path, "ids", "label", rows=5, multiple_of=16, rows_multiple=8)
    assert x.shape == (8, 16)
    assert weights.tolist() == [1] * 5 + [0] * 3
    assert y.tolist() == [0, 1, 2, 3, 4, 0, 1, 2]  # rows of padding alone make NaNs in some layers
    (x,), _ = first(path, "ids", rows=5, multiple_of=16, rows_multiple=8)
    assert x.shape == (5, 16)  # nothing weighs what a model without y makes of padding


def test_a_value_a_step_weighs_by_step(path):
    (_, _, weights), batch = first(path, "ids", ["tags", "label"], "weight", rows=3)
    by_row = batch["weight"].astype(np.float32)
    mask = batch["ids"].to_padded().mask
    assert np.array_equal(weights[0], mask * by_row[:, None])
    assert np.array_equal(weights[1], by_row)
    assert weights[0].dtype == np.float32
    (_, _, weights), _ = first(path, "ids", ["tags", "label"], ["weights", "weight"], rows=3)
    assert np.array_equal(weights[0], batch["weights"].to_padded().values * mask)
    (_, _, weights), batch = first(path, "ids", "gaps", rows=ROWS)
    assert np.array_equal(weights, batch["gaps"].to_padded().mask)  # null steps weigh nothing
    assert weights.sum() < batch["ids"].n_steps


def test_padding_has_the_value_that_masks_look_for(path):
    (x,), batch = first(path, ["gaps", "frames"], value={"gaps": -1, "frames": 7.5}, rows=ROWS)
    mask = batch["gaps"].to_padded().mask
    assert (x[0] == -1).tolist() == (~mask).tolist()
    assert ((x[1] == 7.5).all(2)).tolist() == (~batch["frames"].to_padded().mask).tolist()
    (x,), _ = first(path, "ids", value=3, rows=2)
    assert x[0, len(batch["ids"][0]) :].tolist() == [3] * (x.shape[1] - len(batch["ids"][0]))


def test_rows_without_a_step_make_arrays_of_some_width(tmp_path):
    pq.write_table(pa.table({"ids": pa.array([[], []], pa.list_(pa.int32()))}), tmp_path / "f")
    (x,), _ = first(tmp_path / "f", "ids")
    assert x.tolist() == [[0], [0]]


def test_masks_are_inputs_where_they_are_asked_for(path):
    for names in ("gaps", ["gaps", "label"], {"gaps": "gaps"}):
        (x, _), batch = first(path, names, "label", masks=True, rows=ROWS)
        assert np.array_equal(x["gaps_mask"], batch["gaps"].to_padded().mask)
        assert x["gaps_mask"].dtype == bool
        assert set(x) <= {"gaps", "gaps_mask", "label"}

    frames = keras.Input((None, 2), name="frames")
    mask = keras.Input((None,), dtype="bool", name="frames_mask")
    model = keras.Model([frames, mask], keras.layers.SimpleRNN(3)(frames, mask=mask))
    masking = keras.layers.SimpleRNN(3)(keras.layers.Masking(-9.0)(frames))
    model.compile(loss="mse")
    dataset = StreamDataset(rm.stream(path).batch(ROWS), x="frames", masks=True, value=np.nan)
    found = model.predict(dataset, **quiet())
    values = next(iter(rm.stream(path).batch(ROWS)))["frames"]
    other = keras.Model(frames, masking)
    other.set_weights(weights_of(model))
    by_value = StreamDataset(rm.stream(path).batch(ROWS), x="frames", value=-9.0)
    assert np.allclose(other.predict(by_value, **quiet()), found, atol=1e-6)
    kernel, recurrent, bias = weights_of(model)
    for row, state in enumerate(found[:20]):
        h = np.zeros(3)
        for step in values[row]:
            h = np.tanh(step @ kernel + h @ recurrent + bias)
        assert np.allclose(h, state, atol=1e-5)


def test_models_of_several_inputs_and_outputs_are_fitted(path):
    ids = keras.Input((None,), dtype="int32", name="words")
    label = keras.Input((1,), name="number")
    steps = keras.layers.Embedding(WORDS, 4, mask_zero=True)(ids)
    tags = keras.layers.Dense(3, name="tags")(steps)
    score = keras.layers.Dense(1, name="score")(keras.layers.Concatenate()([Mean()(steps), label]))
    model = keras.Model({"words": ids, "number": label}, {"tags": tags, "score": score})
    model.compile(
        "sgd",
        loss={
            "tags": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "score": "mse",
        },
    )
    dataset = StreamDataset(
        stream_of(path, rows=30, rows_multiple=32, multiple_of=8),
        x={"words": "ids", "number": "weight"},
        y={"tags": "tags", "score": "weight"},
        sample_weight={"tags": "weights", "score": "weight"},
    )
    losses = model.fit(dataset, **quiet(epochs=4)).history["loss"]
    assert losses[-1] < losses[0]
    by_one = StreamDataset(
        stream_of(path, rows=30),
        x={"words": "ids", "number": "weight"},
        y={"tags": "tags", "score": "weight"},
        sample_weight="weight",
    )
    assert np.isfinite(model.evaluate(by_one, **quiet())[0])


def test_few_shapes_are_compiled():
    """Of tokens=8192 on WordNet's glosses: how many programs JAX would make."""

    def as_ids(batch):
        offsets = batch["tokens"].offsets.to_numpy()
        offsets = np.append(0, np.cumsum(np.diff(offsets)))
        return {"ids": rm.Ragged.from_offsets(np.ones(offsets[-1], np.int32), offsets)}

    shapes = {}
    path = ROOT / "examples" / "data" / "wordnet_glosses.parquet"
    for name, rounding in {"": {}, "rounded": {"multiple_of": 16, "rows_multiple": 128}}.items():
        stream = rm.stream(path, ["tokens"]).shuffle(0)
        stream = stream.batch(tokens=8192, column="tokens", **rounding).map(as_ids)
        made = islice(StreamDataset(stream, x="ids", y="ids"), 53)
        shapes[name] = len({x.shape for x, *_ in made})
    assert shapes["rounded"] <= 10 < 30 < shapes[""]


# -- what is refused ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x": "idz"}, "no column 'idz'; the batch has ids, tags"),
        ({"x": "ids", "y": "lable"}, "no column 'lable'"),
        ({"x": "ids", "y": "label", "sample_weight": "no"}, "no column 'no'"),
        ({"x": ["name", "no"], "y": "words"}, r"(?s)'name' is no use.*no column 'no'.*'words' is"),
        ({"x": "words"}, "'words' is no use to Keras: it is Arrow array of list<.*string>"),
        ({"x": "day"}, "'day' is no use to Keras: it is array of datetime64"),
        ({"x": "spans"}, "'spans' has fields; name one of them: spans.a, spans.b"),
        ({"x": "spans.b"}, "'spans.b' is no use"),
        ({"x": 3}, "x is the name of a column, or a list or dict of names; got 3"),
        ({"x": None}, "x names no column"),
        ({"x": []}, "x names no column"),
        ({"x": "ids", "y": ["label", 4]}, "y is the name of a column.*; got 4"),
        ({"x": "ids", "sample_weight": "weight"}, "sample_weight weighs y, and y is not given"),
        (
            {"x": "ids", "y": ["tags", "label"], "sample_weight": ["weight"]},
            r"arranged as y is: y is \['tags', 'label'\], and sample_weight \['weight'\]",
        ),
        (
            {"x": "ids", "y": "label", "sample_weight": "weights"},
            "'weights' has a weight a step, and y 'label' a value a row",
        ),
        ({"x": "ids", "value": {"no": 1}}, "value names 'no', which is not a column of x"),
        ({"x": {"a": ["ids"]}, "masks": True}, "masks=True needs inputs by name"),
        ({"x": {"a": "ids", "a_mask": "tags"}, "masks": True}, "'a_mask' is the name of the mask"),
        ({"x": "ids", "use_multiprocessing": True}, "use_multiprocessing=True is not needed"),
        ({"x": "ids", "workers": -1}, "workers must be at least 0"),
        ({"x": "ids", "max_queue_size": 0}, "max_queue_size must be at least 1"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_read(path, given, message):
    with pytest.raises((rm.InvalidInputError, rm.UnsupportedTypeError), match=message):
        StreamDataset(rm.stream(path).batch(8), **given)


def test_what_is_no_stream_of_batches_is_refused(path):
    with pytest.raises(rm.UnsupportedTypeError, match="takes a Stream; got PosixPath"):
        StreamDataset(path, "ids")
    with pytest.raises(rm.InvalidInputError, match="choose the stream's batches first"):
        StreamDataset(rm.stream(path), "ids")
    for epochs in (3, None):
        with pytest.raises(
            rm.InvalidInputError, match=r"leave out \.repeat\(\), .* fit\(epochs=\)"
        ):
            StreamDataset(rm.stream(path).repeat(epochs).batch(8), "ids")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"x": "holes"}, "'holes' has nulls, the first in row 41"),
        ({"x": "ids", "y": "holes"}, "'holes' has nulls, the first in row 41"),
        ({"x": "few", "y": "tags"}, "y 'tags' and x 'few' differ in row"),
        (
            {"x": "ids", "y": "tags", "sample_weight": "few"},
            "sample_weight 'few' and y 'tags' differ in row",
        ),
        ({"x": "pair", "y": "tags"}, "y 'tags' has a value a step, and no column of x has steps"),
        ({"x": "ids", "value": [1, 2, 3]}, "value"),
        ({"x": "ids", "value": 0.5}, "0.5"),
    ],
)
def test_rows_that_do_not_fit_are_named(path, given, message, workers):
    dataset = StreamDataset(rm.stream(path).batch(60), **given, workers=workers)
    with pytest.raises((rm.InvalidInputError, rm.UnsupportedTypeError), match=message):
        pooled().fit(dataset, **quiet())
    # and the next attempt meets them again
    with pytest.raises((rm.InvalidInputError, rm.UnsupportedTypeError), match=message):
        pooled().predict(dataset, **quiet())


def test_the_row_that_differs_is_the_data_sets(path):
    stream = rm.stream(path).shuffle(3).batch(60)
    lengths = next(iter(rm.stream(path).batch(ROWS)))["ids"].lengths
    with pytest.raises(rm.InvalidInputError, match="differ in row") as caught:
        list(StreamDataset(stream, x="few", y="tags"))
    row = int(str(caught.value).split("row ")[1].split(":")[0])
    assert f"row {row}: {lengths[row]} and 2 steps" in str(caught.value)


def test_streams_without_a_row_are_refused(path):
    none = rm.stream(path, filter=[("label", "<", 0)]).batch(8)
    dataset = StreamDataset(none, "ids", "label")
    with pytest.raises(rm.InvalidInputError, match="the stream has no batch, and Keras needs one"):
        pooled().fit(dataset, **quiet())
    emptied = (
        rm.stream(path).batch(8).map(lambda batch: {n: batch[n][:0] for n in ("ids", "label")})
    )
    with pytest.raises(rm.InvalidInputError, match="a map left a batch without a row"):
        pooled().fit(StreamDataset(emptied, "ids", "label"), **quiet())


def test_columns_that_a_map_makes_are_known(path):
    def length(batch):
        return {**batch, "steps": batch["ids"].lengths, "dense": batch["ids"].to_padded(20)}

    stream = rm.stream(path).batch(8).map(length)
    x, y = next(iter(StreamDataset(stream, ["ids", "dense"], "steps")))
    assert y.tolist() == next(iter(rm.stream(path).batch(8)))["ids"].lengths.tolist()
    assert np.array_equal(x[0], x[1])
    with pytest.raises(rm.InvalidInputError, match="no column 'length'"):
        StreamDataset(stream, "ids", "length")

    def fails_on_none(batch):
        return {**batch, "most": np.full(batch.num_rows, batch["label"].max())}

    stream = rm.stream(path).batch(8).map(fails_on_none)  # so that only the first batch can tell
    assert next(iter(StreamDataset(stream, "ids", "most")))[1].tolist() == [7] * 8
    with pytest.raises(rm.InvalidInputError, match="no column 'least'"):
        next(iter(StreamDataset(stream, "ids", "least")))


# -- other backends -----------------------------------------------------------------------

OTHERS = """
import json, sys
import keras, numpy as np
import ragmask as rm
from ragmask.data import JAPANESE_VOWELS
from ragmask.interop.keras import StreamDataset

def model():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Masking(), keras.layers.GlobalAveragePooling1D()]
    model = keras.Sequential([keras.Input((None, 12)), *layers, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss=loss, weighted_metrics=["accuracy"])
    return model

def dataset():
    stream = rm.stream(JAPANESE_VOWELS, ["frames", "speaker"]).shuffle(0)
    stream = stream.batch(tokens=2048, column="frames", multiple_of=8, rows_multiple=16)
    return StreamDataset(stream, x="frames", y="speaker")

class Watch(keras.callbacks.Callback):
    def __init__(self, data):
        super().__init__()
        self.data, self.states, self.rows = data, [], []
    def on_train_batch_end(self, batch, logs=None):
        self.states.append((self.data.state_dict(batch), self.model.get_weights()))
    def on_epoch_end(self, epoch, logs=None):
        self.rows.append(sorted(self.data.row_ids.tolist()))

told = {"backend": keras.backend.backend()}
net, data = model(), dataset()
if told["backend"] != "numpy":
    watch = Watch(data)
    net.fit(data, epochs=2, verbose=0, callbacks=[watch])
    told["each row once"] = watch.rows == [list(range(640))] * 2
    state, weights = watch.states[2]
    other, rest = model(), dataset()
    other.set_weights(weights)
    rest.load_state_dict(json.loads(json.dumps(state)))
    other.fit(rest, epochs=2, verbose=0)
    told["resumed"] = all(map(np.array_equal, net.get_weights(), other.get_weights()))
told["predicted"] = list(net.predict(data, verbose=0).shape)
told["rows"] = sorted(data.row_ids.tolist()) == list(range(640))
one, two = (net.evaluate(data, verbose=0)[0] for _ in range(2))
told["evaluated"] = bool(np.isclose(one, two, rtol=1e-5))
print(json.dumps(told))
"""


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_other_backends(backend, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    # Keras's torch backend warns of numpy 2 at every turn, and of a resumed epoch's end
    command = [sys.executable, "-W", "ignore", "-c", OTHERS]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout.splitlines()[-1])
    expected = {"backend": backend, "predicted": [640, 10], "rows": True, "evaluated": True}
    if backend == "torch":
        expected |= {"each row once": True, "resumed": True}
    assert told == expected


def test_japanese_vowels_in_buckets_are_padded_little():
    stream = rm.stream(JAPANESE_VOWELS).shuffle(0)
    batched = stream.batch(rows=64, bucket=True, column="frames")
    widths = [x.shape[1] for (x,) in StreamDataset(batched, x="frames")]
    assert sum(64 * width for width in widths) < 1.1 * 9961
    assert any(one > other for one, other in pairwise(widths))
