r"""A text document's file or bytes -> its passages, one after the other; the one door for all formats of text.

What spans count in, the decoded text, is the file's own text (without a byte order mark, every line end one ``\n``,
control characters blanks) for plain text, Markdown and reStructuredText. For the other formats it is what was read out
of them: paragraphs of HTML and Word and pages of PDF with a blank line after each, one line for each row of a table or
object of JSON (``key: value; key: value``), and the lines of subtitles. `read_text` gives it, or a part of it.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from mmsearch.errors import MediaError
from mmsearch.media.blocks import Block, markdown_blocks, plain_blocks, rst_blocks
from mmsearch.media.encodings import characters_of
from mmsearch.media.files import open_regular, reason_of
from mmsearch.media.html_text import DECLARED_ENCODING, html_blocks
from mmsearch.media.json_text import json_blocks, json_line_blocks
from mmsearch.media.passages import MAX_PIECES, Passage, split_passages
from mmsearch.media.pdf_text import pdf_blocks
from mmsearch.media.subtitles import cue_blocks, read_cues
from mmsearch.media.tables import table_blocks
from mmsearch.media.word_text import word_blocks

__all__ = ["TEXT_SUFFIXES", "Passage", "read_passages", "read_text"]

_BLOCKS: dict[str, Callable[[BinaryIO], Iterator[Block]]] = {
    ".csv": lambda stream: table_blocks(characters_of(stream)),
    ".docx": word_blocks,
    ".htm": lambda stream: html_blocks(characters_of(stream, declared=DECLARED_ENCODING)),
    ".html": lambda stream: html_blocks(characters_of(stream, declared=DECLARED_ENCODING)),
    ".json": lambda stream: json_blocks(characters_of(stream)),
    ".jsonl": lambda stream: json_line_blocks(characters_of(stream)),
    ".markdown": lambda stream: markdown_blocks(characters_of(stream)),
    ".md": lambda stream: markdown_blocks(characters_of(stream)),
    ".ndjson": lambda stream: json_line_blocks(characters_of(stream)),
    ".pdf": pdf_blocks,
    ".rst": lambda stream: rst_blocks(characters_of(stream)),
    ".srt": lambda stream: cue_blocks(read_cues(characters_of(stream))),
    ".text": lambda stream: plain_blocks(characters_of(stream)),
    ".tsv": lambda stream: table_blocks(characters_of(stream)),
    ".txt": lambda stream: plain_blocks(characters_of(stream)),
    ".vtt": lambda stream: cue_blocks(read_cues(characters_of(stream))),
    ".xhtml": lambda stream: html_blocks(characters_of(stream, declared=DECLARED_ENCODING)),
}

TEXT_SUFFIXES = frozenset(_BLOCKS)
"""Suffixes, in lower case, of the documents that can be read."""


def read_passages(
    source: Path | bytes, *, path: Path | None = None, max_pieces: int = MAX_PIECES, overlap: int = 0
) -> Iterator[Passage]:
    """Read a text document as passages, in its order, while it is read. Safe to call from many threads.

    Plain text, Markdown, reStructuredText, tables, subtitles, JSON lines and arrays of JSON may have any size; a few
    mebibytes are held. Of the others, HTML is held whole, up to 32 million characters.

    Args:
        source: A file, or its content.
        path: The file that the content came from: its suffix tells the format (plain text without one), and messages
            name it.
        max_pieces: Word pieces of a passage at most, estimated high, 8 or more; the default suits the 128 of the
            built-in model. A longer sentence is cut, at best between clauses.
        overlap: Up to so many pieces are repeated, in whole sentences, from a passage in the one after it; 0 to half
            of `max_pieces`.

    Yields:
        Passages of at most `max_pieces` and 700 characters, at least one.

    Raises:
        MediaError: The file is not of its format, binary, encrypted, damaged, too large, without any text or not
            readable. It may come after passages were given: those are whole.
        ValueError: A limit is out of its range.
    """
    none = True
    with _reading(source, path) as blocks:
        for passage in split_passages(blocks, max_pieces=max_pieces, overlap=overlap):
            none = False
            yield passage
        if none:
            raise MediaError(None, "no text in it")


def read_text(
    source: Path | bytes, *, path: Path | None = None, start_char: int = 0, end_char: int | None = None
) -> str:
    """Read the decoded text that the spans of passages count in, or a part of it.

    Args:
        source: A file, or its content.
        path: The file that the content came from.
        start_char: Where to begin, in characters from 0.
        end_char: Where to end, exclusive; None for the end of the text, which is held in memory then.

    Raises:
        MediaError: As `read_passages`, but a text may be empty or blank.
    """
    parts: list[str] = []
    at = 0
    with _reading(source, path) as blocks:
        for block in blocks:
            if end_char is not None and at >= end_char:
                break
            if at + len(block.text) > start_char:
                parts.append(block.text[max(0, start_char - at) : None if end_char is None else end_char - at])
            at += len(block.text)
    return "".join(parts)


@contextlib.contextmanager
def _reading(source: Path | bytes, path: Path | None) -> Iterator[Iterator[Block]]:
    """The blocks of a document while it is open; what goes wrong becomes a `MediaError` that names it."""
    where = source if isinstance(source, Path) else path
    try:
        suffix = where.suffix.lower() if where is not None and where.suffix else ".txt"
        if suffix not in _BLOCKS:
            raise MediaError(None, f"not a kind of text that can be read ({suffix})")
        with open_regular(source) if isinstance(source, Path) else io.BytesIO(source) as stream:
            if not stream.read(1):
                raise MediaError(None, "empty file")
            stream.seek(0)
            yield _BLOCKS[suffix](stream)
    except MediaError as error:
        raise MediaError(where, error.reason) from error.__cause__
    except MemoryError as error:
        raise MediaError(where, "not enough memory to read it") from error
    except OSError as error:
        raise MediaError(where, reason_of(error)) from error
