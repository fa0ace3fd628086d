from __future__ import annotations

import io

import pytest

from mmsearch.errors import MediaError
from mmsearch.media import pdf_text
from tests.media.documents import checked, lines_drawn, pdf, texts

pypdf = pytest.importorskip("pypdf")


def test_each_passage_knows_the_page_it_begins_on() -> None:
    pages = [
        lines_drawn(["A dog runs along the beach.", "It barks at the waves."] * 12),
        lines_drawn(["A cat sleeps."]),
    ]
    passages = checked(pdf(pages), "a.pdf")
    assert passages[0].page == 1
    assert "runs along the beach.\nIt barks" in passages[0].text
    assert (passages[-1].page, passages[-1].text[-13:]) == (2, "A cat sleeps.")


def test_pages_without_text_are_passed_over_and_keep_their_numbers() -> None:
    (passage,) = checked(pdf([b"0 0 10 10 re f", b"", lines_drawn(["A dog."])]), "a.pdf")
    assert (passage.page, passage.text) == (3, "A dog.")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"hello", "damaged PDF"),
        (b"%PDF-1.4\n" + bytes(range(256)) * 4, "damaged PDF"),
        (pdf([b"0 0 10 10 re f"]), "a PDF without text"),
        (pdf([lines_drawn(["A dog."])])[:200], "damaged PDF"),
    ],
)
def test_what_is_no_readable_pdf_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(MediaError, match=rf"^a.pdf: {reason}$"):
        texts(content, "a.pdf")


def _locked(password: str) -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf([lines_drawn(["A dog."])])))
    writer.encrypt(password, owner_password="owner", algorithm="RC4-128")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_an_encrypted_pdf_is_refused_unless_reading_needs_no_password() -> None:
    assert texts(_locked(""), "a.pdf") == ["A dog."]
    with pytest.raises(MediaError, match="an encrypted PDF"):
        texts(_locked("secret"), "a.pdf")


def test_a_pdf_of_too_many_pages_is_refused_by_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_text, "MAX_PAGES", 5)
    with pytest.raises(MediaError, match="a PDF of 6 pages"):
        texts(pdf([lines_drawn(["A dog."])] * 6), "a.pdf")


def test_a_pdf_of_many_pages_is_read_page_by_page() -> None:
    passages = checked(pdf([lines_drawn([f"This is page {number}."]) for number in range(1, 301)]), "a.pdf")
    assert "This is page 300." in passages[-1].text
    assert passages[-1].page is not None and passages[-1].page > 290


def test_a_file_of_enormous_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_text, "MAX_PDF_BYTES", 100)
    with pytest.raises(MediaError, match="a PDF of more than"):
        texts(pdf([lines_drawn(["A dog."])]), "a.pdf")


def test_forms_that_draw_each_other_again_and_again_are_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_text, "MAX_PAGE_OPERATIONS", 2000)
    forms = {f"X{number}": b" ".join(b"/X%d Do" % (number + 1) for _ in range(10)) for number in range(12)}
    forms["X12"] = lines_drawn(["again"])
    passages = checked(pdf([lines_drawn(["A dog."]) + b" /X0 Do", lines_drawn(["A cat."])], forms), "a.pdf")
    assert passages[0].text.startswith("A dog.")
    assert passages[-1].text.endswith("A cat.")


def test_a_page_that_draws_itself_is_read_once() -> None:
    assert texts(pdf([lines_drawn(["A dog."]) + b" /X Do"], {"X": b"/X Do"}), "a.pdf") == ["A dog."]


def test_a_page_with_enormous_content_is_passed_over() -> None:
    bomb = b"q Q " * (3 << 20)
    assert texts(pdf([bomb, lines_drawn(["A dog."])]), "a.pdf") == ["A dog."]


def test_a_document_that_takes_too_much_work_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_text, "_WORK", 100)
    with pytest.raises(MediaError, match="takes too long"):
        texts(pdf([lines_drawn(["A dog."] * 50)] * 10), "a.pdf")


def test_nothing_is_written_about_damaged_files(capfd: pytest.CaptureFixture[str]) -> None:
    content = pdf([lines_drawn(["A dog."])])
    for damaged in (content.replace(b"xref", b"xxxx"), content.replace(b"/Count 1", b"/Count x"), content[:-60]):
        try:
            texts(damaged, "a.pdf")
        except MediaError:
            continue
    assert capfd.readouterr() == ("", "")
