from __future__ import annotations

import io
import zipfile

import pytest

from mmsearch.errors import MediaError
from mmsearch.media import word_text
from tests.media.documents import W, checked, paragraph, texts, word, zipped

pytest.importorskip("defusedxml")
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)


def test_paragraphs_are_read_under_their_headings() -> None:
    content = word(paragraph("Dogs", "Heading1"), paragraph("A dog & a cat."), paragraph("They run."))
    (passage,) = checked(content, "a.docx")
    assert (passage.heading, passage.text) == ("Dogs", "Dogs\n\nA dog & a cat.\n\nThey run.")


def test_headings_are_known_whatever_language_named_their_style() -> None:
    styles = '<w:style w:styleId="Otsikko1"><w:name w:val="heading 1"/></w:style>'
    styles += '<w:style w:styleId="Own"><w:name w:val="Mine"/><w:pPr><w:outlineLvl w:val="1"/></w:pPr></w:style>'
    styles += '<w:style w:styleId="Body"><w:name w:val="Body"/><w:pPr><w:outlineLvl w:val="9"/></w:pPr></w:style>'
    for style, heading in (("Otsikko1", "Koirat"), ("Own", "Koirat"), ("Body", "")):
        (passage,) = checked(word(paragraph("Koirat", style), paragraph("A dog."), styles=styles), "a.docx")
        assert passage.heading == heading


def test_a_row_of_a_table_is_a_line() -> None:
    cells = "".join(f"<w:tc>{paragraph(text)}</w:tc>" for text in ("Ann", "3"))
    assert texts(word(f"<w:tbl><w:tr>{cells}</w:tr></w:tbl>"), "a.docx") == ["Ann | 3"]


def test_text_boxes_and_footnotes_are_read_and_deleted_words_are_not() -> None:
    box = f"<w:r><w:txbxContent>{paragraph('In the box.')}</w:txbxContent></w:r>"
    deleted = "<w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:r><w:instrText>PAGE</w:instrText></w:r>"
    fallback = (
        '<mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
        f"<mc:Fallback>{paragraph('twice')}</mc:Fallback></mc:AlternateContent>"
    )
    content = word(paragraph("Outside.", extra=box + deleted), fallback, footnotes=paragraph("A note."))
    assert texts(content, "a.docx") == ["In the box.\n\nOutside.\n\nA note."]


def test_tabs_and_line_breaks_part_words() -> None:
    content = word("<w:p><w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t></w:r></w:p>")
    assert texts(content, "a.docx") == ["a b\nc"]


def test_a_numbered_main_part_is_found() -> None:
    assert texts(word(paragraph("A dog."), name="word/document2.xml"), "a.docx") == ["A dog."]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"hello", "damaged or no Word document"),
        (zipped({"photo.jpg": b"x"}), "a zip file that is no Word document"),
        (OLE, "an encrypted document, or one of Word before 2007"),
        (word(paragraph("A dog."))[:-40], "damaged or no Word document"),
        (zipped({"word/document.xml": "<w:document"}), "damaged XML"),
        (zipped({"word/document.xml": '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'}), "XML with entities"),
        (zipped({"word/document.xml": '<?xml version="1.0" encoding="rot13"?><a/>'}), "damaged XML"),
        (word(), "no text in it"),
    ],
)
def test_what_is_no_readable_word_document_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(MediaError, match=rf"^a.docx: {reason}$"):
        texts(content, "a.docx")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_text, "MAX_PART_BYTES", 1 << 20)
    bomb = word(paragraph(" " * (4 << 20)))
    assert len(bomb) < 20_000
    with pytest.raises(MediaError, match="too large when unpacked"):
        texts(bomb, "a.docx")


def test_a_part_that_is_larger_than_it_says_is_refused() -> None:
    content = word(paragraph("A dog. " * 10_000))
    with zipfile.ZipFile(io.BytesIO(content)) as package:
        size = package.getinfo("word/document.xml").file_size
    lying = content.replace(size.to_bytes(4, "little"), (400).to_bytes(4, "little"))
    with pytest.raises(MediaError, match="damaged"):
        texts(lying, "a.docx")


def test_a_zip_of_too_many_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_text, "_DIRECTORY_BYTES", 1000)
    with pytest.raises(MediaError, match="too many files"):
        texts(zipped({f"word/{number}.xml": "" for number in range(100)}), "a.docx")


def test_deep_nesting_is_no_more_than_many_tags() -> None:
    deep = f'<w:document xmlns:w="{W}">' + "<w:a>" * 20_000 + paragraph("Deep.") + "</w:a>" * 20_000 + "</w:document>"
    assert texts(zipped({"word/document.xml": deep}), "a.docx") == ["Deep."]
