"""Pictures of models: they tell the graph as it is, and where masks go."""

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ragmask as rm
from ragmask import layers
from ragmask.layers.graph import sorted_nodes
from ragmask.layers.inputs import InputLayer
from tests.layers.examples import Drops, Sees, two_inputs, words
from tests.layers.test_summaries import fates
from tests.pages import HOSTILE, read

SVG = "{http://www.w3.org/2000/svg}"
FLOWS = {("3", None): "masked", ("1.2", "6 4"): "bare", ("2.4", "1 4"): "mask"}
FLOWS[("1.2", None)] = "unknown"


class Drawn:
    """What an SVG shows: boxes with their lines of text, and lines between them."""

    def __init__(self, plot):
        self.root = ET.fromstring(str(plot))
        self.width, self.height = (float(self.root.get(side)) for side in ("width", "height"))
        rects = [one for one in self.root.iter(f"{SVG}rect") if one.get("stroke-width") == "1.2"]
        self.boxes = [
            tuple(float(one.get(key)) for key in ("x", "y", "width", "height")) for one in rects
        ]
        texts = [
            (float(one.get("x")), float(one.get("y")), one.text or "")
            for one in self.root.iter(f"{SVG}text")
        ]
        self.texts = [
            [text for x, y, text in texts if left <= x <= left + wide and top <= y <= top + high]
            for left, top, wide, high in self.boxes
        ]
        self.edges = sorted(self._edges())

    def _edges(self):
        for path in self.root.iter(f"{SVG}path"):
            numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.get("d"))]
            if "C" not in path.get("d"):
                continue
            (x, y), (end, foot) = numbers[:2], numbers[-2:]
            flow = FLOWS[path.get("stroke-width"), path.get("stroke-dasharray")]
            yield self.at(x, y), self.at(end, foot + 7), flow

    def at(self, x, y):
        """The name in the box in the middle of whose upper or lower edge a point lies."""
        for (left, top, wide, high), texts in zip(self.boxes, self.texts, strict=True):
            if abs(left + wide / 2 - x) < 0.3 and min(abs(top - y), abs(top + high - y)) < 0.3:
                return " ".join(texts[:2]) if texts[0] == "output" else texts[0]
        raise AssertionError(f"a line ends at {x}, {y}, where no box is")

    def masks(self):
        """{layer: what its box says of the mask}."""
        return {
            texts[0]: texts[-1].removeprefix("mask ") if texts[-1].startswith("mask ") else ""
            for texts in self.texts
            if texts[0] != "output"
        }

    def check_places(self):
        """Nothing lies over something else, or beyond the picture."""
        for place, (left, top, wide, high) in enumerate(self.boxes):
            assert left >= 0
            assert top >= 0
            assert left + wide <= self.width
            assert top + high <= self.height
            for x, y, width, height in self.boxes[:place]:
                apart_x = left >= x + width or x >= left + wide
                assert apart_x or top >= y + height or y >= top + high


def graph_of(model):
    """The lines that a picture must have, from the graph itself."""
    edges = set()
    for node in model._nodes:
        by_hand = {id(one) for one in ([] if node.mask is None else [node.mask])}
        for symbol in node.sources():
            flow = "mask" if id(symbol) in by_hand else "masked" if symbol.is_masked else "bare"
            edges.add((symbol.node.layer.name, node.layer.name, flow))
    for name, symbol in zip(model.output_names, model.outputs, strict=True):
        flow = "masked" if symbol.is_masked else "bare"
        edges.add((symbol.node.layer.name, f"output {name}", flow))
    return sorted(edges)


@st.composite
def models(draw):
    """Any graph of layers that make, merge, use and drop masks."""
    made = [layers.Input((None, 3), name="in0"), layers.Input((None, 3), name="in1")]
    keep = layers.Input((None,), dtype="bool", name="keep")
    used = []
    for number in range(draw(st.integers(1, 12))):
        name = f"l{number}"
        kind = draw(st.sampled_from(["masking", "dense", "add", "drops", "sees", "by_hand"]))
        one = draw(st.sampled_from(made))
        used.append(one)
        if kind == "add":
            others = draw(st.lists(st.sampled_from(made), min_size=1, max_size=3))
            used += others
            made.append(layers.Add(name=name)([one, *others]))
        elif kind == "by_hand":
            made.append(layers.LSTM(3, return_sequences=True, name=name)(one, mask=keep))
            used.append(keep)
        else:
            layer = {
                "masking": layers.Masking(name=name),
                "dense": layers.Dense(3, name=name),
                "drops": Drops(name=name),
                "sees": Sees(name=name),
            }[kind]
            made.append(layer(one))
    ids = {id(one) for one in used}
    ends = [one for one in made[2:] if id(one) not in ids]
    outputs = ends or made[-1:]
    entries = [n.outputs for n in sorted_nodes(outputs) if isinstance(n.layer, InputLayer)]
    return layers.Model(entries, outputs, name="drawn")


@given(models())
def test_the_lines_are_those_of_the_graph(model):
    drawn = Drawn(model.plot())
    assert sorted(set(drawn.edges)) == graph_of(model)
    assert len(drawn.edges) == len(set(drawn.edges))
    drawn.check_places()
    read(model._repr_html_())


def test_boxes_say_what_summary_says(capsys):
    x = words(name="ids")
    y = layers.Embedding(5, 4, mask_zero=True, name="makes")(x)
    first, second = layers.TemporalSplit(name="changes")(y)
    y = layers.TemporalConcat(name="joins")([first, second])
    y = layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="uses")(y)
    y = Drops(name="drops")(y)
    keep = layers.Input((None,), dtype="bool", name="keep")
    model = layers.Model([x, keep], layers.LSTM(3, name="by_hand")(y, mask=keep))
    drawn = Drawn(model.plot())
    assert drawn.masks() == fates(model, capsys)
    assert drawn.masks()["by_hand"] == "used"
    assert ["uses", "Bidirectional(LSTM)", "(rows, time, 8)", "mask used, passed"] in drawn.texts
    assert ["keep", "Input of bool", "(rows, time)"] in drawn.texts
    assert ("keep", "by_hand", "mask") in drawn.edges
    assert ("joins", "uses", "masked") in drawn.edges
    assert ("drops", "by_hand", "bare") in drawn.edges


def test_the_words_tell_what_the_picture_tells():
    label = ET.fromstring(str(two_inputs().plot())).get("aria-label")
    assert label == (
        "Model 'two' as a graph. a: Input of int32, (rows, time). "
        "shared: Embedding, from a, (rows, time, 4), mask made. b: Input of int32, (rows, time). "
        "shared: Embedding, from b, (rows, time, 4), mask made. "
        "join: Add, from shared, (rows, time, 4), mask changed. "
        "read: LSTM, from join, (rows, time, 3), mask used, passed. "
        "end: TemporalPool, from read, (rows, 3), mask used. "
        "Output of read, masked. Output of end, not masked."
    )


def test_a_model_in_a_model_is_a_box():
    inner = layers.Sequential([layers.Dense(3), layers.Dense(1)], name="head")
    x = layers.Input((None, 4))
    (texts,) = [one for one in Drawn(layers.Model(x, inner(x)).plot()).texts if one[0] == "head"]
    assert texts[1] == "Sequential of 2 layers"


def test_what_is_not_built_yet_is_a_chain():
    model = layers.Sequential([layers.Dense(2, name="a"), layers.LSTM(3, name="b")], name="s")
    drawn = Drawn(model.plot())
    assert drawn.texts == [["a", "Dense"], ["b", "LSTM"]]
    assert drawn.edges == [("a", "b", "unknown")]
    assert "once the model is built" in read(model._repr_html_()).text
    model(rm.Ragged.from_rows([[[1.0, 2.0]]]))
    assert ("a", "b", "bare") in Drawn(model.plot()).edges


class Own(layers.Model):
    def __init__(self):
        super().__init__(name="own")
        self.last = layers.Dense(2)

    def call(self, inputs):
        return self.last(inputs)


def test_models_without_a_graph_say_so():
    with pytest.raises(rm.InvalidInputError, match="'own' has a call of its own"):
        Own().plot()
    with pytest.raises(rm.InvalidInputError, match="'none' has no layers"):
        layers.Sequential([], name="none").plot()
    assert "a call of its own" in read(Own()._repr_html_()).text
    assert "'none'" in read(layers.Sequential([], name="none")._repr_html_()).text


def test_a_long_model_is_drawn_when_asked():
    x = y = layers.Input((None, 2))
    for _ in range(100):
        y = layers.Activation("relu")(y)
    model = layers.Model(x, y)
    assert len(model._repr_html_()) < 10_000
    assert "plot() draws them" in read(model._repr_html_()).text
    assert len(Drawn(model.plot()).boxes) == 102


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_name_leaves_its_place(kind):
    name = HOSTILE[kind].replace("/", "|")
    x = layers.Input((None, 2), name="x")
    label = name or "_"
    layer = (
        type(name.replace("\0", "") or "_", (layers.Dense,), {})
        if kind != "lone surrogate"
        else layers.Dense
    )
    try:
        y = layer(2, name=label)(x)
        model = layers.Model(x, {HOSTILE[kind]: y}, name=label)
    except rm.InvalidInputError:
        y = layer(2, name="d")(x)
        model = layers.Model(x, {HOSTILE[kind]: y})
    page = model._repr_html_()
    read(page)
    assert len(page) < 20_000
    Drawn(model.plot()).check_places()


def test_save(tmp_path):
    plot = two_inputs().plot()
    target = tmp_path / "model.svg"
    target.write_text("before")
    plot.save(target)
    assert target.read_bytes().decode() == str(plot) == plot._repr_svg_()
    assert [path.name for path in tmp_path.iterdir()] == ["model.svg"]
    with pytest.raises(rm.InvalidInputError, match=r"to a name like model\.svg"):
        plot.save(tmp_path / "model.png")
    with pytest.raises(rm.StreamError, match=r"nowhere.model\.svg cannot be written"):
        plot.save(tmp_path / "nowhere" / "model.svg")
    (tmp_path / "link.svg").symlink_to(target)
    with pytest.raises(rm.StreamError, match="is a link"):
        plot.save(tmp_path / "link.svg")


def test_a_file_stands_alone_and_a_fragment_takes_its_page_s_colours():
    plot = two_inputs().plot()
    assert "prefers-color-scheme:dark" in str(plot)
    assert "prefers-color-scheme" not in plot._repr_html_()
    assert 'fill="currentColor"' in plot._repr_html_()
