"""A PDF -> blocks of its pages' text; the adapter of pypdf.

Work is bounded by counting, so that a file gives the same passages on every machine: its size, its pages, and the
operations on them, as forms that draw each other could make a small file an endless one. A clock is the last resort.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any, BinaryIO

from mmsearch.errors import MediaError
from mmsearch.media.blocks import Block
from mmsearch.media.encodings import clean

__all__ = ["MAX_PAGES", "MAX_PAGE_OPERATIONS", "MAX_PDF_BYTES", "pdf_blocks"]

MAX_PDF_BYTES = 512 << 20
MAX_PAGES = 10_000
MAX_PAGE_OPERATIONS = 200_000
"""Drawing operations on a page at most; a full page of text has a few thousand. The rest of it is left out."""

_CONTENT_BYTES = 8 << 20
_PAGE_CHARACTERS = 1 << 20
_WORK = 20_000_000  # operations, and sixteenths of the bytes they are written in, of a whole document
_SECONDS = 600.0
_BAD_PAGES = 100
_SILENT = logging.NullHandler()


class _EnoughError(Exception):
    """A page has more operations than any page of text."""


def pdf_blocks(stream: BinaryIO) -> Iterator[Block]:
    """One block for each page with text, its number with it; pages that cannot be read are passed over.

    Raises:
        MediaError: It is no PDF, encrypted, damaged, too large, has no text (as scans have none), or pypdf is not
            installed.
    """
    try:
        import pypdf
    except ImportError as error:
        raise MediaError(None, "PDF needs the package pypdf") from error
    # Without a handler of its own, Python writes the warnings of a library to stderr.
    logging.getLogger("pypdf").addHandler(_SILENT)
    if stream.seek(0, 2) > MAX_PDF_BYTES:
        raise MediaError(None, f"a PDF of more than {MAX_PDF_BYTES >> 20} MiB")
    stream.seek(0)
    with _guarded(pypdf):
        reader = pypdf.PdfReader(stream, strict=False)
        if reader.is_encrypted and not _unlocked(reader):
            raise MediaError(None, "an encrypted PDF")
        count = len(reader.pages)
    if count > MAX_PAGES:
        raise MediaError(None, f"a PDF of {count} pages")
    work = _Work()
    written = bad = 0
    for number in range(count):
        try:
            with _guarded(pypdf):
                text = work.page_text(reader, number)
        except MediaError as error:
            bad += 1
            if bad >= _BAD_PAGES and not written:
                raise MediaError(None, "damaged PDF") from error
            text = ""
        if work.is_over:
            raise MediaError(None, "a PDF that takes too long to read")
        if text:
            written += 1
            yield Block(text + "\n\n", page=number + 1)
    if not written:
        raise MediaError(None, "damaged PDF" if bad else "a PDF without text")


@contextlib.contextmanager
def _guarded(pypdf: Any) -> Iterator[None]:
    """Bound what pypdf unpacks, and make a `MediaError` of all that it meets a damaged file with."""
    try:
        with pypdf.apply_configuration(
            zlib_maximum_output_length=2 * _CONTENT_BYTES,
            lzw_maximum_output_length=2 * _CONTENT_BYTES,
            run_length_maximum_output_length=2 * _CONTENT_BYTES,
            array_based_stream_maximum_output_length=2 * _CONTENT_BYTES,
        ):
            yield
    except (MediaError, MemoryError):
        raise
    except Exception as error:  # a damaged file may raise anything in there
        raise MediaError(None, "damaged PDF") from error


def _unlocked(reader: Any) -> bool:
    """Whether the empty password opens it, as it does where only printing is forbidden."""
    try:
        return bool(reader.decrypt(""))
    except Exception:  # a cipher that needs one more package, or a damaged dictionary
        return False


class _Work:
    """Reads pages, and counts what that takes."""

    def __init__(self) -> None:
        self._done = 0
        self._until = time.monotonic() + _SECONDS

    @property
    def is_over(self) -> bool:
        """Whether a document has taken more work than a book of thousands of pages does."""
        return self._done > _WORK or time.monotonic() > self._until

    def page_text(self, reader: Any, number: int) -> str:
        """Text of a page, its beginning alone where it is no page of text."""
        page = reader.pages[number]
        contents = page.get_contents()
        size = len(contents.get_data()) if contents is not None else 0
        self._done += size // 16
        if not 0 < size <= _CONTENT_BYTES:
            return ""
        parts: list[str] = []
        length = 0
        limit = self._done + MAX_PAGE_OPERATIONS

        def count(*_: object) -> None:
            self._done += 1
            # Raised again by every operation after this one: pypdf passes over what fails within a form.
            if self._done > limit or length > _PAGE_CHARACTERS:
                raise _EnoughError

        def collect(text: str, *_: object) -> None:
            nonlocal length
            length += len(text)
            parts.append(text)

        try:
            text = str(page.extract_text(visitor_operand_before=count, visitor_text=collect))
        except _EnoughError:
            text = "".join(parts)
        if number % 64 == 63:
            reader.resolved_objects.clear()  # else what was read of all pages would be held until the last one
        return clean(text[:_PAGE_CHARACTERS].strip().replace("\r\n", "\n").replace("\r", "\n")).strip()
