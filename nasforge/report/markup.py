"""HTML and SVG as values: text is escaped because of its type, not because somebody remembered to."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Final, TypeGuard, final

_REFUSED: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_EMPTY: Final = frozenset({"br", "col", "hr", "img", "meta", "path", "rect", "circle", "line"})


@final
class Markup(str):
    """Text that is markup already; every other text is escaped when it is put into an element."""

    __slots__ = ()


Content = str | Markup | None


def escaped(text: object) -> Markup:
    """Return any value as markup; control characters that neither HTML nor XML allows become a mark.

    >>> escaped("<b> & 'c'")
    '&lt;b&gt; &amp; &#x27;c&#x27;'
    """
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(_REFUSED.sub("\N{REPLACEMENT CHARACTER}", str(text))))


def joined(parts: Iterable[Content], between: str = "") -> Markup:
    """Return the parts one after the other; None is left out."""
    return Markup(between.join(escaped(part) for part in parts if part is not None))


def element(name: str, *content: Content, **attributes: object) -> Markup:
    """Return one element.

    Attributes that are None are left out; `class_` is written `class`, other underscores as hyphens.

    >>> element("td", "<3", class_="low")
    '<td class="low">&lt;3</td>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _EMPTY and not content:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{joined(content)}</{name}>")


def table(header: Iterable[Content], rows: Iterable[Iterable[Content]], class_: str | None = None) -> Markup:
    """Return a table in a box that scrolls sideways by itself; a row may be `tr` markup already."""
    heads = (each if _is_cell(each) else element("th", each, scope="col") for each in header)
    head = element("tr", *heads)
    body = [each if isinstance(each, Markup) else element("tr", *(cell(part) for part in each)) for each in rows]
    inside = element("table", element("thead", head), element("tbody", *body), class_=class_)
    return element("div", inside, class_="scroll")


def cell(content: Content) -> Markup:
    """Return a table cell; one that is markup of a cell already stays as it is."""
    return content if _is_cell(content) else element("td", content)


def _is_cell(content: Content) -> TypeGuard[Markup]:
    return isinstance(content, Markup) and content.startswith(("<td", "<th"))
