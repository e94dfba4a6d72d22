"""Fragments of HTML and SVG, read strictly: what a picture may be made of, and what it says."""

import re
from html.parser import HTMLParser

TAGS = {
    *("div", "span", "p", "strong", "i", "bdi", "ol", "ul", "li", "style", "small", "code", "pre"),
    *("table", "thead", "tbody", "tr", "th", "td", "dl", "dt", "dd", "figure", "figcaption"),
    *("svg", "rect", "path", "text", "polyline", "a", "details", "summary", "footer"),
    *("html", "head", "meta", "title", "body", "main", "section", "h1", "h2", "h3"),
}
VOID = {"meta"}
ATTRIBUTES = re.compile(
    r"class|id|style|role|aria-(label|hidden)|scope|tabindex|lang|charset|name|content|href|xmlns"
    r"|viewBox|width|height|x|y|rx|d|points|fill|stroke(-\w+)?|font-\w+|text-anchor"
)
STYLE = re.compile(r"([a-z-]+:[\w.%-]+(;|$))+")


class Element:
    def __init__(self, tag, attributes):
        self.tag, self.attributes, self.children = tag, attributes, []

    def find(self, *wanted):
        """Elements below that are of a tag, or have a class."""
        found = []
        for child in self.children:
            if isinstance(child, Element):
                classes = child.attributes.get("class", "").split()
                if child.tag in wanted or any(one in wanted for one in classes):
                    found.append(child)
                found += child.find(*wanted)
        return found

    def __getitem__(self, attribute):
        return self.attributes[attribute]

    @property
    def text(self):
        if self.tag == "style":
            return ""
        return "".join(one if isinstance(one, str) else one.text for one in self.children)

    @property
    def flex(self):
        """How many steps it stands for."""
        return int(re.fullmatch(r"flex:(\d+)", self["style"])[1])


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.root = Element("root", {})
        self.open = [self.root]

    def handle_starttag(self, tag, attributes):
        assert tag in TAGS, tag
        for name, value in attributes:
            # HTMLParser writes all names small
            assert ATTRIBUTES.fullmatch(name.replace("viewbox", "viewBox")), name
            assert name != "href" or value.startswith("#"), value
            assert name != "style" or STYLE.fullmatch(value), value
        element = Element(tag, dict(attributes))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag

    def handle_data(self, data):
        assert self.open[-1].tag != "style" or "<" not in data
        self.open[-1].children.append(data)

    def handle_decl(self, decl):
        assert decl == "doctype html"

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data}")


def read(page):
    """The tree of a page, of nothing but what pictures are made of."""
    page.encode()  # lone surrogates fail
    unseen = [one for one in page if not one.isprintable() and one != "\n"]
    assert not unseen
    outside = re.findall(r"(?:https?:)?//[^\s\"']+|url\(|@import", page)
    assert set(outside) <= {"http://www.w3.org/2000/svg"}
    reader = _Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == [reader.root]
    return reader.root


# kinds of text that somebody else may have chosen; a name with a slash is no name of a layer
HOSTILE = {
    "ends a style": "</style><script>alert(1)</script>",
    "ends a text": "</text></svg><img src=x onerror=alert(1)>",
    "quotes": "\"'><b onclick='x'>",
    "entity": "&lt;script&gt;&#60;b&#62;",
    "comment": "<!-- ]]> --> <![CDATA[",
    "null byte": "a\x00b",
    "right to left": "\u202eabc\u2067",
    "Hebrew": "\u05d0\u05d1\u05d2",
    "lines": "one\ntwo\r\u2028three\x1b[31m",
    "lone surrogate": "a\ud800b",
    "no character": "\ufffe\uffff",
    "long": "x" * 10_000_000,
    "long and unseen": "\U000e0001" * 1_000_000,
    "empty": "",
}
