"""Characters of a plain, Markdown or reStructuredText file -> blocks; what all readers of texts have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

__all__ = ["MAX_LINE_CHARACTERS", "Block", "lines_of", "markdown_blocks", "plain_blocks", "rst_blocks"]

MAX_LINE_CHARACTERS = 1 << 16

_BODY_LINES = 64
_ATX = re.compile(r" {0,3}#{1,6}(?:[ \t]+(.*?))?[ \t]*#*[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_SETEXT = re.compile(r" {0,3}(?:=+|-{2,})[ \t]*")
_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1{2,}[ \t]*")
_TITLE_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a text; the texts of all blocks, one after the other, are the decoded text.

    Attributes:
        text: Characters, blanks and line ends between blocks included.
        heading: The heading that holds from here on; None where it does not change.
        title: Whether the text is that heading itself; a passage begins with it.
        fresh: Whether a passage begins here in any case.
        page: The page of a PDF, from 1.
        start_ms: When a subtitle appears.
        end_ms: When it disappears.
    """

    text: str
    heading: str | None = None
    title: bool = False
    fresh: bool = False
    page: int | None = None
    start_ms: int | None = None
    end_ms: int | None = None


def lines_of(chunks: Iterable[str], limit: int = MAX_LINE_CHARACTERS) -> Iterator[str]:
    """Put chunks together to lines with their line ends; a longer line than the limit comes in parts."""
    rest = ""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split("\n")
        for line in lines:
            yield from _parts(line + "\n", limit)
        while len(rest) > limit:
            yield rest[:limit]
            rest = rest[limit:]
    if rest:
        yield rest


def _parts(line: str, limit: int) -> Iterator[str]:
    if len(line) <= limit:
        yield line
        return
    for start in range(0, len(line), limit):
        yield line[start : start + limit]


def plain_blocks(chunks: Iterable[str]) -> Iterator[Block]:
    """Blocks of a plain text: it has no headings that could be told from its sentences."""
    for chunk in chunks:
        yield Block(chunk)


def markdown_blocks(chunks: Iterable[str]) -> Iterator[Block]:
    """Blocks of a Markdown text with its headings (``# so`` or underlined); those in fenced code are none."""
    body: list[str] = []
    fence = ""
    front_matter = False
    for number, line in enumerate(lines_of(chunks)):
        bare = line.rstrip("\n")
        if number == 0 and bare.rstrip() == "---":
            front_matter = True
        elif front_matter:
            front_matter = bare.rstrip() not in ("---", "...")
        elif fence:
            if bare.strip().startswith(fence) and not bare.strip(fence[0] + " \t"):
                fence = ""
        elif len(bare) > _TITLE_CHARACTERS:
            pass
        elif opening := _FENCE.match(bare):
            fence = opening.group(1)
        elif title := _ATX.fullmatch(bare):
            yield from _joined(body)
            yield Block(line, heading=(title.group(1) or "").strip("*_` "), title=True)
            continue
        elif _SETEXT.fullmatch(bare) and _is_title(body):
            text = body.pop()
            yield from _joined(body)
            yield Block(text + line, heading=text.strip("*_` \n"), title=True)
            continue
        body.append(line)
        if len(body) >= _BODY_LINES:
            yield from _joined(body, keep=2)
    yield from _joined(body)


def rst_blocks(chunks: Iterable[str]) -> Iterator[Block]:
    """Blocks of a reStructuredText with its headings: lines with an underline of at least their length."""
    body: list[str] = []
    for line in lines_of(chunks):
        if len(line) <= _TITLE_CHARACTERS and _ADORNMENT.fullmatch(line.rstrip("\n")):
            over = len(body) > 1 and body[-2].rstrip() == line.rstrip()
            if _is_title(body[:-2] + body[-1:] if over else body) and len(body[-1].strip()) <= len(line.strip()):
                text = "".join(body[-2:] if over else body[-1:])
                heading = body[-1].strip()
                del body[-2 if over else -1 :]
                yield from _joined(body)
                yield Block(text + line, heading=heading, title=True)
                continue
        body.append(line)
        if len(body) >= _BODY_LINES:
            yield from _joined(body, keep=3)
    yield from _joined(body)


def _is_title(body: list[str]) -> bool:
    """Whether the last line stands alone, as a heading does above its underline."""
    if not body or body[-1].isspace() or len(body[-1]) > _TITLE_CHARACTERS:
        return False
    return len(body) == 1 or body[-2].isspace()


def _joined(body: list[str], keep: int = 0) -> Iterator[Block]:
    """One block of all lines but the last few, which are left in the list."""
    count = len(body) - keep
    if count > 0:
        yield Block("".join(body[:count]))
        del body[:count]
