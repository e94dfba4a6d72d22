"""Pages as their links, anchors and addresses of what they load."""

from functools import cache
from html.parser import HTMLParser
from typing import NamedTuple

LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src")}


class Page(NamedTuple):
    links: list[tuple[str, str]]  # address and words, of what stands in the page's own text
    anchors: set[str]
    loaded: list[str]
    menu: list[str]  # addresses of all links, those around the text too


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.page = Page([], set(), [], [])
        self.article, self.link, self.words = 0, None, ""

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.page.anchors.update(given[key] for key in ("id", "name") if given.get(key))
        self.page.loaded.extend(
            given[name] for element, name in LOADED if element == tag and given.get(name)
        )
        self.article += tag == "article"
        if tag == "a" and given.get("href"):
            self.link, self.words = given["href"], ""
            self.page.menu.append(self.link)

    def handle_data(self, data):
        self.words += data

    def handle_endtag(self, tag):
        self.article -= tag == "article"
        if tag == "a" and self.link:
            if self.article:
                self.page.links.append((self.link, self.words.strip()))
            self.link = None


@cache
def read(path):
    reader = _Reader()
    reader.feed(path.read_text("utf-8"))
    return reader.page
