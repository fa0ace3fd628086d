"""Characters of an HTML document -> blocks of what a reader sees: its headings, paragraphs, cells and captions.

Scripts, styles, navigation, controls and hidden parts are left out. Tags are read in one pass that never looks back, as
browsers do it: `html.parser` takes quadratic time on some damaged documents in the versions of Python that are about,
and builders of trees do on deeply nested ones.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator

from mmsearch.errors import MediaError
from mmsearch.media.blocks import Block

__all__ = ["DECLARED_ENCODING", "MAX_HTML_CHARACTERS", "html_blocks"]

MAX_HTML_CHARACTERS = 32 << 20
DECLARED_ENCODING = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{2,40})", re.IGNORECASE)
"""Where a document names its encoding."""

_TAG = re.compile(r"/?[A-Za-z][^\s/>]{0,60}")
_TAG_STOP = re.compile(r"""[>"']""")
_VALUE_AHEAD = re.compile(r"=\s{0,20}\Z")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7};?|#[xX][0-9a-fA-F]{1,6};?|[A-Za-z][A-Za-z0-9]{1,31};?)")
_HIDDEN = re.compile(
    r"""\shidden(?=[\s=>/]|\Z)|\saria-hidden\s*=\s*["']?true|\srole\s*=\s*["']?(?:navigation|search|menu|menubar)\b"""
    r"""|\sstyle\s*=\s*["'][^"']{0,200}display\s*:\s*none""",
    re.IGNORECASE,
)
_ALT = re.compile(r"""\salt\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_ATTRIBUTE_CHARACTERS = 4096

# Their content is no markup: it ends at their own end tag alone.
_RAW = frozenset({"script", "style", "xmp", "iframe", "noembed", "noframes", "textarea"})
_DROPPED = frozenset({"template", "noscript", "svg", "math", "canvas", "object", "audio", "video"}) | frozenset(
    {"nav", "menu", "footer", "button", "select", "datalist", "dialog"}
)
_HEADINGS = frozenset({"title", "h1", "h2", "h3", "h4", "h5", "h6"})
_BLOCKS = _HEADINGS.union(
    ("address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl", "dt"),
    (
        "fieldset",
        "figcaption",
        "figure",
        "form",
        "header",
        "head",
        "hr",
        "html",
        "legend",
        "li",
        "main",
        "ol",
        "option",
    ),
    ("p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "tr", "ul"),
)
_CELLS = frozenset({"td", "th"})
_IMPLIED = frozenset({"dd", "dt", "li", "option", "p", "td", "th", "tr"})
_VOID = frozenset({"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param"}) | frozenset(
    {"source", "track", "wbr"}
)


def html_blocks(chunks: Iterable[str]) -> Iterator[Block]:
    """Blocks of an HTML document; each ends with a blank line, white space within is a single blank or line end.

    Raises:
        MediaError: The document has more than `MAX_HTML_CHARACTERS` characters.
    """
    parts: list[str] = []
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > MAX_HTML_CHARACTERS:
            raise MediaError(None, f"an HTML document of more than {MAX_HTML_CHARACTERS >> 20} million characters")
        parts.append(chunk)
    page = _Page()
    for tag, value in _tokens("".join(parts)):
        if tag:
            yield from page.tag(tag, value)
        else:
            page.words(value)
    yield from page.border()


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Tags as their lower-case name (``/name`` for an end) with their attributes, and the text between as ``""``."""
    at, length = 0, len(text)
    while at < length:
        opening = text.find("<", at)
        if opening < 0:
            yield "", text[at:]
            return
        if opening > at:
            yield "", text[at:opening]
        name = _TAG.match(text, opening + 1)
        if name is None:
            at = _after_other(text, opening)
            if at == opening:
                yield "", "<"
                at += 1
            continue
        tag = name.group().lower()
        end = _tag_end(text, name.end())
        yield tag, text[name.end() : min(end, name.end() + _ATTRIBUTE_CHARACTERS)]
        at = end + 1
        if tag in _RAW:
            closing = re.compile(rf"</{tag}(?=[\s/>])", re.IGNORECASE).search(text, at)
            at = closing.start() if closing else length


def _after_other(text: str, opening: int) -> int:
    """Where a comment or declaration ends that begins at a ``<``; there itself where neither does."""
    if text.startswith("<!--", opening):
        end = text.find("-->", opening + 2)
        return end + 3 if end >= 0 else len(text)
    if text.startswith(("<!", "<?", "</"), opening):
        end = text.find(">", opening)
        return end + 1 if end >= 0 else len(text)
    return opening


def _tag_end(text: str, at: int) -> int:
    """Where the ``>`` of a tag is, not counting those in quoted values; the end of the text where there is none."""
    while stop := _TAG_STOP.search(text, at):
        if stop.group() == ">":
            return stop.start()
        at = stop.end()
        if _VALUE_AHEAD.search(text, max(0, stop.start() - 24), stop.start()):
            closing = text.find(stop.group(), at)
            if closing < 0:
                break
            at = closing + 1
    return len(text)


def _plain(text: str) -> str:
    """Text with its entities replaced; numbers of any length are met there."""
    return _ENTITY.sub(lambda found: html.unescape(found.group()), text) if "&" in text else text


class _Page:
    """What is shown of a document so far: the block being filled, and the dropped element that is being passed."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._title = False  # whether a heading is open
        self._drop = ""
        self._depth = 0

    def words(self, text: str) -> None:
        if not self._drop:
            self._parts.append(_plain(text))

    def tag(self, tag: str, attributes: str) -> Iterator[Block]:
        name = tag.removeprefix("/")
        if self._drop:
            if name != self._drop:
                return
            if tag in _IMPLIED:
                self._drop = ""  # the end tag of the one before it was left out
            else:
                self._depth += -1 if tag[0] == "/" else int(not attributes.endswith("/"))
                if self._depth == 0:
                    self._drop = ""
                return
        if name in _BLOCKS:
            yield from self.border()
            if name in _HEADINGS:
                self._title = tag[0] != "/"
        elif name == "br":
            self._parts.append("\0")
        elif name in _CELLS:
            self._parts.append(" | " if tag[0] != "/" else " ")
        elif tag == "img":
            found = _ALT.search(attributes)
            if found and not _HIDDEN.search(attributes):
                self._parts.append(f" {_plain(found.group(1) or found.group(2) or found.group(3) or '')} ")
        if tag[0] == "/" or tag in _VOID or attributes.endswith("/"):
            return
        if tag in _RAW or tag in _DROPPED or (attributes and name != "body" and _HIDDEN.search(attributes)):
            self._drop, self._depth = tag, 1

    def border(self) -> Iterator[Block]:
        """The block that ends here, if there is anything in it."""
        if not self._parts:
            return
        text = "\n".join(
            line for line in (" ".join(part.split()).strip("| ") for part in "".join(self._parts).split("\0")) if line
        )
        self._parts.clear()
        if text:
            yield Block(text + "\n\n", heading=text if self._title else None, title=self._title)
            self._title = False
