"""Descriptions that ask for too much: read in the time and memory of small models."""

import json
from contextlib import suppress
from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

import ragmask as rm
from ragmask.layers import (
    load_model,
)
from tests.layers.saved_models import (
    graph,
    recurrent,
    sharing,
)


def write_model(folder, description, weights=None):
    (folder / "model").mkdir(exist_ok=True)
    save_file(weights or {}, folder / "model" / "weights.safetensors")
    told = {"format": "ragmask model 1", "layers": description}
    (folder / "model" / "model.json").write_text(json.dumps(told))


def layer(cls, name, **config):
    return {"class": cls, "name": name, "config": config}


def chained(entry, *between):
    """A Sequential of layers, the first of which is an Input."""
    told = [layer("InputLayer", "entry", **entry), *between]
    numbers = list(range(1, len(told)))
    return [*told, {"class": "Sequential", "name": "model", "input": 0, "chain": numbers}]


@pytest.mark.parametrize(
    "description",
    [
        chained(
            {"shape": [None], "dtype": "int32"},
            layer("Embedding", "e", input_dim=10**9, output_dim=99),
        ),
        chained({"shape": [None, 3]}, layer("Dense", "d", units=10**10)),
        chained({"shape": [None, 0]}, layer("Dense", "d", units=10**10, use_bias=False)),
        chained({"shape": [None, 3]}, layer("LSTM", "l", units=10**5)),
        chained({"shape": [None, 3]}, layer("GRU", "g", units=10**5)),
        chained({"shape": [None, 3]}, layer("SimpleRNN", "r", units=10**5)),
        chained({"shape": [None, 2**40]}, layer("Masking", "m")),
        chained({"shape": [2**16, 2**16]}, layer("Activation", "a", activation="relu")),
        chained({"shape": [None, 3]}, layer("TemporalSplit", "s", sections=10**11)),
        chained({"shape": [None, 3]}, layer("TemporalSplit", "s", sections=2**70)),
    ],
    ids=[
        "embedding",
        "dense",
        "dense of nothing",
        "lstm",
        "gru",
        "rnn",
        "input",
        "image",
        "split",
        "more",
    ],
)
def test_sizes_that_no_file_holds_are_refused(description, tmp_path):
    write_model(tmp_path, description)
    with pytest.raises(rm.InvalidInputError):
        load_model(tmp_path / "model")


def node(number, *symbols):
    return {"layer": number, "inputs": [{"symbol": [one, 0]} for one in symbols]}


def test_features_that_double_and_double_are_refused(tmp_path):
    nodes = [{"layer": 0}, *(node(1, number, number) for number in range(60))]
    ends = {"inputs": {"symbol": [0, 0]}, "outputs": {"symbol": [60, 0]}}
    model = {"class": "Model", "name": "model", "nodes": nodes, **ends}
    write_model(
        tmp_path, [layer("InputLayer", "x", shape=[None, 8]), layer("Concatenate", "c"), model]
    )
    with pytest.raises(rm.InvalidInputError, match=r"(?s)steps of so many numbers.*in layer 'c'"):
        load_model(tmp_path / "model")


def test_models_in_models_that_double_and_double_are_refused(tmp_path):
    told = [layer("InputLayer", "x", shape=[3]), layer("Activation", "a0", activation="tanh")]
    for depth in range(1, 61):
        told.append(
            {"class": "Sequential", "name": f"a{depth}", "input": 0, "chain": [depth, depth]}
        )
    write_model(tmp_path, told)
    with pytest.raises(rm.InvalidInputError, match="would never end"):
        load_model(tmp_path / "model")


def test_models_nested_too_deep_are_refused(tmp_path):
    told = [layer("InputLayer", "x", shape=[3]), layer("Activation", "a0", activation="tanh")]
    for depth in range(1, 5000):
        told.append({"class": "Sequential", "name": f"a{depth}", "input": 0, "chain": [depth]})
    write_model(tmp_path, told)
    with pytest.raises(rm.InvalidInputError):
        load_model(tmp_path / "model")


ODD = st.one_of(
    st.sampled_from([None, -1, 0, 1, 3, 2**70, 10**12, 1.5, float("nan"), "x", "", [], {}, [[]]]),
    st.sampled_from([True, {"symbol": [0, 0]}, {"layer": 0}, {"layer": 3}, {"float": "x"}]),
    st.sampled_from([{"tuple": [1]}, {"dict": {"a": 1}}, {"array": ["float32", [1], [2]]}]),
    st.sampled_from([{"array": ["O", [1], [2]]}, {"array": ["int8", [9], []]}, "relu", "Model"]),
)


def places_in(value, path=()):
    """Every place in JSON, as a path of keys."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in pairs:
        yield (*path, key)
        if isinstance(one, dict | list):
            yield from places_in(one, (*path, key))


@pytest.fixture(scope="module", params=[graph, sharing, recurrent])
def saved(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    request.param().save(folder / "model")
    return folder, json.loads((folder / "model" / "model.json").read_text())


@given(data=st.data())
def test_a_description_changed_anywhere_is_read_or_refused(saved, data):
    folder, told = saved
    told = deepcopy(told)
    for _ in range(data.draw(st.integers(1, 3))):
        places = list(places_in(told))
        if not places:  # all of it was deleted
            break
        *way, last = data.draw(st.sampled_from(places))
        here = told
        for key in way:
            here = here[key]
        if data.draw(st.booleans()):
            del here[last]
        else:
            *other, end = data.draw(st.sampled_from(places))
            source = told
            for key in other:
                source = source[key]
            moved = source[end]
            here[last] = deepcopy(data.draw(st.one_of(ODD, st.just(moved))))  # may be changed too
    (folder / "model" / "model.json").write_text(json.dumps(told))
    with suppress(rm.RagmaskError):
        load_model(folder / "model")
