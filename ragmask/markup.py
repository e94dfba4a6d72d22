"""Markup of pictures: text made safe and short, and the style that they share."""

import html

_SHORT = 60

# Colours are translucent or the page's own, so that they do on light and on dark pages alike.
STYLE = """
.ragmask{font-size:13px;line-height:1.5;max-width:100%;overflow-wrap:anywhere;text-align:left}
.ragmask p{margin:0 0 .4em;padding:0}
.ragmask .rm-code,.ragmask .rm-n,.ragmask .rm-s{font-family:ui-monospace,Menlo,Consolas,\
"DejaVu Sans Mono",monospace;font-size:12px}
.ragmask .rm-n{white-space:nowrap;text-align:right}
.ragmask .rm-rows,.ragmask table,.ragmask .rm-chain{max-width:900px}
.ragmask .rm-rows{display:grid;align-items:center;gap:3px 8px;margin:.4em 0;\
grid-template-columns:auto minmax(0,1fr) auto}
.ragmask .rm-rows.rm-heads{grid-template-columns:auto minmax(0,1fr) auto auto}
.ragmask .rm-rows.rm-fit{grid-template-columns:auto auto minmax(0,1fr)}
.ragmask .rm-fit .rm-n:nth-child(3n){text-align:left}
.ragmask .rm-more{grid-column:1/-1}
.ragmask .rm-bar{display:flex;height:14px;min-width:2px;gap:1px;border-left:1px solid currentColor}
.ragmask .rm-rows.rm-small{grid-template-columns:minmax(0,1fr);gap:2px;margin:3px 0}
.ragmask .rm-small .rm-bar{height:7px}
.ragmask .rm-piece{display:flex;min-width:2px;overflow:hidden}
.ragmask .rm-bar i{display:block;min-width:0;box-sizing:border-box}
.ragmask .rm-cells{display:flex;gap:6px;border-left:1px solid currentColor;min-height:22px}
.ragmask .rm-cells>span{display:flex}
.ragmask .rm-s{box-sizing:border-box;height:22px;line-height:20px;text-align:center;\
white-space:nowrap;border:1px solid rgba(72,128,208,.85);border-left-width:0}
.ragmask .rm-kept{background-color:rgba(72,128,208,.8)}
.ragmask .rm-s.rm-kept{background-color:rgba(72,128,208,.16)}
.ragmask .rm-masked,.ragmask .rm-partly{background-image:repeating-linear-gradient(-45deg,\
currentColor 0 1px,transparent 1px 4px);box-shadow:inset 0 0 0 1px currentColor}
.ragmask .rm-partly{background-color:rgba(72,128,208,.45)}
.ragmask .rm-padding{border:1px dashed rgba(128,128,128,.9)!important}
.ragmask .rm-rest{background-image:radial-gradient(currentColor 1px,transparent 1.5px);\
background-size:5px 5px;background-position:0 50%}
.ragmask .rm-legend{display:flex;flex-wrap:wrap;gap:2px 14px}
.ragmask .rm-legend i{display:inline-block;width:22px;height:11px;margin-right:5px;\
vertical-align:-1px}
.ragmask table{width:100%;border-collapse:collapse;border:0;margin:.4em 0;font-size:13px;\
table-layout:auto;display:table}
.ragmask th,.ragmask td{padding:3px 10px 3px 0;border:0;border-bottom:1px solid \
rgba(128,128,128,.35);text-align:left;vertical-align:top;background:none;color:inherit;\
font-weight:400;white-space:normal;min-width:0;max-width:none}
.ragmask thead th{font-weight:600;white-space:nowrap}
.ragmask tbody th{min-width:9ch}
.ragmask ol.rm-chain{display:flex;flex-wrap:wrap;gap:6px 0;list-style:none;margin:.4em 0;padding:0}
.ragmask ol.rm-chain li{margin:0;padding:2px 8px;border:1px solid rgba(72,128,208,.85);\
border-radius:5px;background:rgba(72,128,208,.12);max-width:100%;box-sizing:border-box}
.ragmask ol.rm-chain li+li{margin-left:24px;position:relative}
.ragmask ol.rm-chain li+li::before{content:"→";position:absolute;left:-19px}
""".strip()


def short(given: str, most: int = _SHORT) -> str:
    """A text on one line of at most `most` characters, cut in its middle.

    >>> short("tokens"), short("one\\ntwo"), short("a" * 1_000_000, 9)
    ('tokens', 'one\\\\ntwo', 'aaaaaa…aa')

    What cannot be seen, or turns the text around it, is written as Python would: \\x00, \\u202e.
    """
    if len(given) > most:
        given = given[: most - most // 3] + "…" + given[len(given) - most // 3 + 1 :]
    seen = "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in given
    )
    return seen if len(seen) <= most else seen[: most - 1] + "…"


def text(given: str, most: int = _SHORT) -> str:
    """A text, shortened, as it stands in markup and in the quotes of its attributes."""
    return html.escape(short(given, most))


def data(given: str, most: int = _SHORT) -> str:
    """A text that somebody else chose; letters from right to left do not turn what is around it."""
    seen = given if given.strip() else f'"{given}"'
    return f"<bdi>{text(seen, most)}</bdi>"


def head(kind: str, facts: list[str]) -> str:
    """The first line of a picture: what it is, and facts about it."""
    return f"<p><strong>{text(kind)}</strong> {text(' · '.join(facts), 300)}</p>"


def figure(*parts: str) -> str:
    """Parts of a picture as a fragment of HTML, with the style that they need."""
    return f'<div class="ragmask"><style>{STYLE}</style>{"".join(parts)}</div>'


def table(headers: list[str], rows: list[list[str]]) -> str:
    """A table of cells that are markup already; the first of a row is its header."""
    names = "".join(f'<th scope="col">{text(name)}</th>' for name in headers)
    lines = (
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for first, *cells in rows
    )
    return f"<table><thead><tr>{names}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
