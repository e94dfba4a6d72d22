"""What models tell: masks that get lost, and summaries."""

import pytest

from ragmask import layers
from tests.layers.examples import Drops, Passes, Sees, two_inputs, words


def losing(*between):
    x = words()
    y = layers.Embedding(5, 4, mask_zero=True)(x)
    for layer in between:
        y = layer(y)
    return layers.Model(x, layers.LSTM(3, name="read")(y))


def test_a_lost_mask_is_told_once(ids):
    model = losing(Drops(name="loser"), Passes())
    told = "layer 'read' uses masks and gets none: layer 'loser' before it dropped the mask"
    with pytest.warns(layers.MaskWarning, match=told) as caught:
        model(ids)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    model(ids)  # warnings are errors here
    with pytest.warns(layers.MaskWarning, match="layer 'loser'"):
        losing(Passes(), Drops(name="loser"))(ids.to_padded())
    stacked = layers.Sequential(
        [layers.Embedding(5, 4, mask_zero=True), Drops(name="loser"), layers.TemporalSoftmax()]
    )
    with pytest.warns(layers.MaskWarning, match="layer 'loser'") as caught:
        stacked(ids)
    assert caught[0].filename == __file__


def test_a_layer_that_uses_the_mask_may_lose_it_too(ids):
    with pytest.warns(layers.MaskWarning, match="layer 'sees' before it dropped the mask"):
        losing(Sees(name="sees"))(ids)


def test_nothing_lost_is_nothing_told(ids):
    losing(Passes())(ids)
    losing(layers.Dense(4), layers.Dropout(0.5), layers.Activation("relu"))(ids)
    x = words()
    bare = Drops()(layers.Embedding(5, 4)(x))  # lengths are no mask to drop
    layers.Model(x, layers.LSTM(3)(bare))(ids)
    y = layers.Embedding(5, 4, mask_zero=True)(x)
    pooled = Drops()(layers.TemporalPool("mean")(y))
    layers.Model(x, [pooled, layers.LSTM(3)(y)])(ids)
    dropped = Drops()(y)  # which nobody misses
    layers.Model(x, [dropped, layers.LSTM(3)(y)])(ids)
    keep = layers.Input((None,), dtype="bool")  # and here another one takes its place
    by_hand = layers.LSTM(3)(Drops()(y), mask=keep)
    layers.Model([x, keep], by_hand)([ids, ids > 1])


def fates(model, capsys):
    """{layer: what the table says of its mask}."""
    model.summary()
    lines = capsys.readouterr().out.splitlines()
    begin, end = lines[1].index("mask"), lines[1].index("from")
    return {line.split(" ")[0]: line[begin:end].strip() for line in lines[3:-1]}


def test_summary_says_where_masks_go(capsys):
    x = words(name="ids")
    y = layers.Embedding(5, 4, mask_zero=True, name="makes")(x)
    y = layers.Dense(4, name="passes")(y)
    first, second = layers.TemporalSplit(name="changes")(y)
    y = layers.TemporalConcat(name="joins")([first, second])
    y = layers.LSTM(4, return_sequences=True, name="uses")(y)
    y = Drops(name="drops")(y)
    y = layers.Dense(2, name="bare")(y)
    y = layers.TemporalPool(name="misses")(y)
    assert fates(layers.Model(x, y), capsys) == {
        "ids": "",
        "makes": "made",
        "passes": "passed",
        "changes": "changed",
        "joins": "changed",
        "uses": "used, passed",
        "drops": "dropped",
        "bare": "",
        "misses": "",
    }


def test_summary_of_those_that_use_masks(capsys):
    x = words(name="ids")
    y = layers.Embedding(5, 4, mask_zero=True, name="makes")(x)
    seen = Sees(name="sees")(y)
    back = layers.LSTM(2, return_sequences=True, go_backwards=True, name="back")(y)
    last = layers.LSTM(2, name="last")(y)
    gru = layers.GRU(2, return_sequences=True, name="gru")(y)
    rnn = layers.SimpleRNN(2, return_sequences=True, go_backwards=True, name="rnn")(y)
    told = fates(layers.Model(x, [seen, back, last, gru, rnn]), capsys)
    assert told["sees"] == "used, dropped"
    assert told["back"] == told["rnn"] == "used, changed"
    assert told["last"] == "used"
    assert told["gru"] == "used, passed"


def test_summary_is_a_table(capsys):
    two_inputs().summary()
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "Model 'two'"
    assert out.splitlines()[-1] == "116 numbers in all"
    assert "join (Add)          (rows, time, 4)  0        changed       shared" in out
    rows = [line.split() for line in out.splitlines() if line.startswith("shared (Embedding)")]
    assert rows[0][-3:] == ["20", "made", "a"]
    assert rows[1][-2:] == ["made", "b"]
    assert "20" not in rows[1]  # shared weights are counted once
    layers.Sequential([layers.Dense(2, name="d")], name="s").summary()
    told = capsys.readouterr().out
    assert told == "Model 's': d; built on the first batch it is called on\n"


def test_layers_and_models_print_as_they_were_made():
    assert repr(layers.Embedding(10, 4, mask_zero=True, name="e")) == (
        "Embedding('e', input_dim=10, output_dim=4, mask_zero=True)"
    )
    assert repr(layers.LSTM(3, name="r", return_state=True)) == (
        "LSTM('r', units=3, return_state=True)"
    )
    assert repr(Drops(name="d")) == "Drops('d')"
    both = layers.Bidirectional(layers.LSTM(3, name="r"), name="b")
    assert repr(both) == "Bidirectional('b', layer=LSTM('r', units=3))"
    assert repr(two_inputs()) == "Model('two', 4 layers, 116 numbers)"


def test_get_config_makes_the_layer_again():
    layer = layers.Dense(3, "relu", use_bias=False, name="d")
    again = layers.Dense(**layer.get_config())
    assert repr(again) == repr(layer)
    assert (again.units, again.activation, again.use_bias) == (3, "relu", False)
    first = layers.Bidirectional(layers.LSTM(3, return_sequences=True, use_bias=False))
    assert first.backward_layer.use_bias is False
    assert first.backward_layer.go_backwards is True
