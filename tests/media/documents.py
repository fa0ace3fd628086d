"""Text documents for tests, made from code: Word files, PDFs, and what every reader of texts must keep to."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from mmsearch.media.passages import MAX_CHARACTERS, MAX_PIECES, Passage, estimate_pieces
from mmsearch.media.text import read_passages, read_text

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def checked(content: bytes, name: str, *, max_pieces: int = MAX_PIECES, overlap: int = 0) -> list[Passage]:
    """The passages of a document, after it was seen that their spans hold and that none is too long."""
    path = Path(name)
    passages = list(read_passages(content, path=path, max_pieces=max_pieces, overlap=overlap))
    text = read_text(content, path=path)
    assert [text[passage.start_char : passage.end_char] for passage in passages] == [p.text for p in passages]
    for passage in passages:
        assert passage.text == passage.text.strip() != ""
        assert estimate_pieces(passage.text) <= max_pieces
        assert len(passage.text) <= MAX_CHARACTERS
        passage.text.encode("utf-8")
    starts = [passage.start_char for passage in passages]
    assert starts == sorted(set(starts))
    if not overlap:
        # Nothing but white space lies outside of the passages: all words are in them, in order.
        assert not any(gap.strip() for gap in gaps(text, passages))
    return passages


def gaps(text: str, passages: Sequence[Passage]) -> list[str]:
    """What of a text lies between its passages, before the first and after the last."""
    ends = [0, *(passage.end_char for passage in passages)]
    starts = [*(passage.start_char for passage in passages), len(text)]
    assert all(end <= start for end, start in zip(ends, starts, strict=True))
    return [text[end:start] for end, start in zip(ends, starts, strict=True)]


def texts(content: bytes | str, name: str) -> list[str]:
    """The texts of a document's passages."""
    return [p.text for p in checked(content.encode() if isinstance(content, str) else content, name)]


def paragraph(text: str, style: str = "", extra: str = "") -> str:
    """A paragraph of a Word document as XML."""
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f'<w:p>{properties}<w:r><w:t xml:space="preserve">{escape(text)}</w:t></w:r>{extra}</w:p>'


def zipped(files: dict[str, bytes | str]) -> bytes:
    """A zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in files.items():
            package.writestr(name, content)
    return buffer.getvalue()


def word(*paragraphs: str, styles: str = "", name: str = "word/document.xml", **parts: str) -> bytes:
    """A Word document of some paragraphs, with other parts of it by name."""
    body = f'<w:document xmlns:w="{W}"><w:body>{"".join(paragraphs)}</w:body></w:document>'
    files: dict[str, bytes | str] = {"[Content_Types].xml": "<Types/>", name: body}
    if styles:
        files["word/styles.xml"] = f'<w:styles xmlns:w="{W}">{styles}</w:styles>'
    for part, content in parts.items():
        files[f"word/{part}.xml"] = f'<w:{part} xmlns:w="{W}">{content}</w:{part}>'
    return zipped(files)


def lines_drawn(lines: Sequence[str]) -> bytes:
    """The operations that draw lines of text on a page."""
    shown = b" T* ".join(b"(" + line.encode("cp1252").replace(b")", b"\\)") + b") Tj" for line in lines)
    return b"BT /F1 12 Tf 14 TL 72 720 Td " + shown + b" ET"


def pdf(pages: Sequence[bytes], forms: dict[str, bytes] | None = None) -> bytes:
    """A PDF whose pages are drawn by these operations; forms are drawn by their names."""
    objects: list[bytes] = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    names = {name: 4 + number for number, name in enumerate(forms or {})}
    drawn = b" ".join(b"/%s %d 0 R" % (name.encode(), number) for name, number in names.items())
    resources = b"<< /Font << /F1 3 0 R >> /XObject << " + drawn + b" >> >>"
    for content in (forms or {}).values():
        head = b"<< /Type /XObject /Subtype /Form /BBox [0 0 612 792] /Resources %s /Length %d >>" % (
            resources,
            len(content),
        )
        objects.append(head + b"\nstream\n" + content + b"\nendstream")
    kids = []
    for content in pages:
        kids.append(len(objects) + 1)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources %s /Contents %d 0 R >>"
            % (resources, len(objects) + 2)
        )
        packed = zlib.compress(content)
        objects.append(b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed))
    listed = b" ".join(b"%d 0 R" % kid for kid in kids)
    objects[1] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (len(kids), listed)
    out = io.BytesIO(b"%PDF-1.4\n")
    out.seek(0, 2)
    places = []
    for number, content in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, content))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % place for place in places))
    out.write(b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start))
    return out.getvalue()
