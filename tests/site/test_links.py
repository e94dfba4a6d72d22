"""Where the site's links lead, and how many clicks away from the front page a task is."""

import re
from urllib.parse import unquote, urlsplit

import pytest

import ragmask as rm
from tests.site.links import read

# what a stranger comes for, and the page that answers it
TASKS = {
    "what a ragged batch is": "learn/ragged",
    "pad a list of lists, with a mask": "learn/masking",
    "what this is called in torch, TensorFlow or Awkward": "learn/coming",
    "stream Parquet into a DataLoader": "guides/stream",
    "train an LSTM without padding": "guides/train",
    "run a saved model over files": "guides/apply",
    "a softmax over lists in polars or DuckDB": "guides/pipelines",
    "call a kernel from my own @njit function": "guides/kernels",
    "resume an epoch where it stopped": "guides/streams",
    "run on a GPU": "guides/cuda",
    "follow the speed of a change": "performance/track",
    "the arguments of to_padded": "reference/generated/ragmask.Ragged",
}


def target(site, page, address):
    """The file and the anchor that a link of a page leads to, or None where it leads elsewhere."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    return (path / "index.html" if path.is_dir() else path), unquote(parts.fragment)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_is_two_clicks_away(site, task):
    front = site / "index.html"
    found = {front}
    for _ in range(2):
        clicked = [target(site, page, address) for page in found for address, _ in read(page).links]
        found |= {to[0] for to in clicked if to and to[0].suffix == ".html"}
    assert site / f"{TASKS[task]}.html" in found


def test_every_link_and_anchor_is_there(site):
    broken = []
    for page in site.rglob("*.html"):
        if {"benchmarks", "_static"} & set(page.relative_to(site).parts):
            continue  # asv's own, and a template of the theme's
        for address in {*read(page).menu, *read(page).loaded}:
            if (to := target(site, page, address)) is None or address == "#":
                continue
            path, anchor = to
            # sphinx.ext.viewcode names all that a module has after whoever documents some of it
            anchor = "" if "_modules" in page.parts else anchor
            if not path.exists() or (anchor and anchor not in read(path).anchors):
                broken.append(f"{page.relative_to(site)}: {address}")
    assert not broken


def test_nothing_is_loaded_from_elsewhere(site):
    loaded = {
        (page.name, address)
        for page in site.rglob("*.html")
        for address in read(page).loaded
        if urlsplit(address).netloc
    }
    assert not loaded


def test_every_public_name_has_a_page(site):
    pages = {page.stem for page in (site / "reference" / "generated").glob("*.html")}
    rooms = {"data", "interop", "kernels", "layers"}
    assert {f"ragmask.{name}" for name in rm._HOME.keys() - rooms} <= pages
    # other names of the same layers, as Keras has them
    twice = {"Convolution1D", "GlobalAvgPool1D", "GlobalMaxPool1D"}
    assert {f"ragmask.layers.{name}" for name in set(rm.layers.__all__) - twice} <= pages
    bound = re.compile(
        r"ragmask\.kernels\.cpu\.(lstm|gru|rnn)"
    )  # made by their records, of no file
    for page in filter(lambda name: not bound.match(name), pages):
        text = (site / "reference" / "generated" / f"{page}.html").read_text("utf-8")
        assert "[source]" in text, page
