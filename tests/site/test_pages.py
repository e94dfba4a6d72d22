"""The site as a browser shows it: on a phone and on a desk, light and dark."""

import pytest
from axe_playwright_python.sync_playwright import Axe

WIDTHS = [400, 1280]
# of the theme: what it says of its own mode when it starts
QUIET = "[PST]"


def sampled(site):
    """Every page that was written, and one of each kind that was made."""
    made = ["ragmask.Ragged", "ragmask.stream", "ragmask.StreamError", "ragmask.layers.LSTM"]
    pages = [page for page in sorted(site.rglob("*.html")) if "generated" not in page.parts]
    pages.remove(site / "genindex.html")  # of links alone, thousands
    pages = [page for page in pages if not {"_modules", "_static", "benchmarks"} & set(page.parts)]
    return [*pages, *(site / "reference" / "generated" / f"{name}.html" for name in made)]


def wide(page):
    """What reaches past the window, and is in no box of its own that scrolls."""
    return page.evaluate("""() => {
        const scrolls = e => e && (['auto', 'scroll', 'hidden', 'clip'].includes(
            getComputedStyle(e).overflowX) || scrolls(e.parentElement));
        return [...document.querySelectorAll('body *')].filter(e => {
            const box = e.getBoundingClientRect();
            return box.width && box.right > innerWidth + 1 && !scrolls(e.parentElement)
                && getComputedStyle(e).position != 'fixed' && e.checkVisibility();
        }).map(e => e.outerHTML.slice(0, 120));
    }""")


def look(browser, path, dark):
    """What is wrong with a page, at any width."""
    context = browser.new_context(color_scheme="dark" if dark else "light")
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("requestfailed", lambda request: said.append(f"not loaded: {request.url}"))
    page.goto(path.as_uri())
    wrong = []
    for width in WIDTHS if dark else reversed(WIDTHS):  # axe sees the last of them
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(400)  # the theme looks anew at what scrolls
        page.screenshot()
        if page.evaluate("document.documentElement.scrollWidth") > width:
            wrong.append(f"at {width} the page scrolls sideways")
        wrong += [f"at {width} cut off: {element}" for element in wide(page)]
    # a table that polars draws has a column without a name
    found = Axe().run(page, {"exclude": [[".dataframe"]]}, {"preload": False})
    for violation in found.response["violations"]:
        where = [node["html"][:120] for node in violation["nodes"]][:3]
        wrong.append(f"{violation['id']}: {violation['help']} {where}")
    context.close()
    return wrong + [text for text in said if QUIET not in text]


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_pages_are_whole_and_readable(site, browser, dark):
    found = {str(page.relative_to(site)): look(browser, page, dark) for page in sampled(site)}
    assert not {page: wrong for page, wrong in found.items() if wrong}


def test_what_is_wrong_is_found(browser, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<title>x</title><img src=missing.png><p style='width: 900px; color: #eee'>words</p>"
        "<script>console.log('said')</script>"
    )
    wrong = " ".join(look(browser, page, dark=False))
    for word in [
        "console: said",
        "not loaded",
        "sideways",
        "cut off",
        "image-alt",
        "color-contrast",
    ]:
        assert word in wrong
