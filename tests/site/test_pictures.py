"""Pictures and reports in a browser, wide and narrow, light and dark: whole, and legible."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe

import ragmask as rm
from ragmask import layers
from ragmask.data import JAPANESE_VOWELS
from tests.layers.examples import Drops, two_inputs, words
from tests.pages import HOSTILE
from tests.test_cli import run

COLOURS = {"light": ("#222832", "#ffffff"), "dark": ("#ced6dd", "#14181e")}
# what reaches beyond the page or its box, but for what is scrolled
CUT_OFF = """() => [...document.querySelectorAll("body *")].filter(one => {
  if (one.closest("[tabindex='0'], details:not([open])")) return false;
  const box = one.getBoundingClientRect();
  return box.right > innerWidth + 1 || box.left < -1
    || (one.matches(".rm-s, .rm-n, td, th, h1, h2, li, p") && one.scrollWidth > one.clientWidth + 1
        && getComputedStyle(one).display != "inline");
}).map(one => one.outerHTML.slice(0, 200))"""
TEXT_OUTSIDE = """() => [...document.querySelectorAll("svg text")].filter(one => {
  const text = one.getBoundingClientRect();
  const svg = one.closest("svg");
  const boxes = [svg, ...svg.querySelectorAll("rect:not(.page)")];
  const [page, ...rects] = boxes.map(b => b.getBoundingClientRect());
  const middle = [(text.left + text.right) / 2, (text.top + text.bottom) / 2];
  const around = rects.filter(b => svg.matches(".ragmask-plot")
    && b.left < middle[0] && middle[0] < b.right && b.top < middle[1] && middle[1] < b.bottom);
  return [page, ...around].some(b => text.left < b.left - 1 || text.right > b.right + 1);
}).map(one => one.textContent)"""


def models():
    x = words(name="ids")
    y = layers.Embedding(5, 4, mask_zero=True, name="makes")(x)
    first, second = layers.TemporalSplit(name="changes")(y)
    z = layers.TemporalConcat(name="joins")([first, second])
    z = layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="uses")(z)
    z = layers.Concatenate(name="層" * 20)([Drops(name="drops")(z), y])
    heads = [layers.Dense(2, name=f"a_head_of_a_long_name_{number}")(z) for number in range(7)]
    yield layers.Model(x, [layers.TemporalPool(name="last")(z), *heads], name="wide")
    yield two_inputs()
    yield layers.Sequential([layers.Dense(2), layers.LSTM(3)])


def pictures():
    random = np.random.default_rng(0)
    rows = rm.Ragged.from_rows([[711, 632, 71], [73, 8, 3215, 55, 927], [], [1]])
    yield rows
    yield rm.masking(rows * 1.0, 8.0).to_padded()
    many = rm.Ragged.from_rows([random.integers(0, 10**9, n) for n in random.integers(0, 90, 300)])
    many = rm.Ragged(many.values, many.starts, many.lengths, random.random(many.n_steps) > 0.1)
    yield from (many, many.to_padded(padding="pre"))
    yield rm.NestedRagged.from_offsets(many, np.arange(11) * 30)
    stream = rm.stream(JAPANESE_VOWELS).shuffle(seed=7).shard(0, 4).map(len)
    yield stream.batch(tokens=4096, column="frames", multiple_of=8)
    yield next(iter(rm.stream(JAPANESE_VOWELS).batch(rows=64)))
    texts = [text for kind, text in HOSTILE.items() if kind != "lone surrogate"]
    yield rm.Batch({text: pa.array([text, text]) for text in texts})
    yield from models()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Files by name; those of pictures come in the colours of a light page and a dark one."""
    folder = tmp_path_factory.mktemp("pages")
    shown = [one._repr_html_() for one in pictures()]
    assert len(shown) == 11
    for scheme, (text, page) in COLOURS.items():
        style = f"margin:8px;font-family:sans-serif;color:{text};background:{page}"
        (folder / f"{scheme}.html").write_text(
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Pictures</title>'
            f'</head><body style="{style}"><main><h1>Pictures</h1>{"<hr>".join(shown)}</main>'
            "</body></html>"
        )
    columns = {"ids": [[1] * (n % 37) for n in range(2000)], "same": [[1, 2]] * 2000}
    columns |= {"word " + "w" * 200: [["a"]] * 1999 + [["b"] * 5000], "none": [[]] * 2000}
    columns["none"] = pa.array([None] * 2000, pa.list_(pa.int8()))
    pq.write_table(pa.table(columns), folder / "lists.parquet")
    for path, name in ((JAPANESE_VOWELS, "vowels"), (folder / "lists.parquet", "lists")):
        assert run("inspect", path, "--html", folder / f"{name}.html").exit_code == 0
    next(models()).plot().save(folder / "model.svg")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("scheme", COLOURS)
@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("name", ["pictures", "vowels", "lists", "model.svg"])
def test_it_is_whole_legible_and_quiet(name, width, scheme, pages, browser):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda asked: said.append(asked.url) if asked.url[:5] != "file:" else None)
    path = pages / (name if "." in name else f"{scheme if name == 'pictures' else name}.html")
    page.goto(path.as_uri())
    assert page.evaluate(TEXT_OUTSIDE) == []
    if name != "model.svg":
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CUT_OFF) == []
        found = Axe().run(page).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    assert said == []
    page.close()
