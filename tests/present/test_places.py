from __future__ import annotations

from pathlib import Path

from mmsearch.present.places import others_text, passage_text, place_text, span_text
from mmsearch.types import Hit, Modality
from tests.present.samples import AUDIO, TEXT, VIDEO, hit

FILE = Path("/a")


def frames(*seconds: float) -> tuple[Hit, ...]:
    return tuple(hit(FILE, modality=VIDEO, matched=VIDEO, start_ms=round(1000 * second)) for second in seconds)


def passages(count: int, **facts: object) -> tuple[Hit, ...]:
    return tuple(hit(FILE, modality=TEXT, text=f"passage {number}", **facts) for number in range(count))


def test_spans_are_said_as_clock_times() -> None:
    assert span_text(None, None) == ""
    assert span_text(12_000, None) == "0:12"
    assert span_text(12_000, 17_900) == "0:12-0:17"
    assert span_text(12_000, 12_900) == "0:12"
    assert span_text(3_599_000, 3_725_000) == "59:59-1:02:05"


def test_a_place_is_a_time_a_page_or_nothing() -> None:
    assert place_text(hit(FILE)) == ""
    assert place_text(hit(FILE, modality=TEXT, text="a", start_char=5, end_char=6)) == ""
    assert place_text(hit(FILE, modality=TEXT, text="a", page=3)) == "page 3"
    assert place_text(hit(FILE, modality=AUDIO, matched=AUDIO, start_ms=0, end_ms=5000)) == "0:00-0:05"
    assert place_text(hit(FILE, modality=VIDEO, matched=AUDIO, start_ms=0, end_ms=5000)) == "sound 0:00-0:05"


def test_a_passage_of_a_text_is_shown_as_it_is_and_other_words_with_what_they_are() -> None:
    assert passage_text(hit(FILE)) is None
    assert passage_text(hit(FILE, modality=TEXT, matched=TEXT, text="a note")) == "a note"
    heading = "# Diary\n\n## Friday\n\nOwl #2 came."
    assert passage_text(hit(FILE, modality=TEXT, text=heading)) == "Diary\n\nFriday\n\nOwl #2 came."
    assert passage_text(hit(FILE, matched=TEXT, text="a dog")) == "caption: a dog"
    assert passage_text(hit(FILE, modality=AUDIO, matched=TEXT, text="a bark")) == "caption: a bark"
    assert passage_text(hit(FILE, modality=VIDEO, matched=TEXT, text="Hi!", start_ms=0)) == "subtitle: Hi!"


def test_other_times_are_told_in_their_order_each_second_once() -> None:
    assert others_text(hit(FILE, modality=VIDEO, start_ms=0, others=frames(65, 40, 40.4))) == "also at 0:40, 1:05"


def test_many_other_times_are_counted() -> None:
    told = others_text(hit(FILE, modality=VIDEO, start_ms=0, others=frames(*range(10, 20))))
    assert told == "also at 0:10, 0:11, 0:12, 0:13, 0:14, 0:15 and 4 more"


def test_what_is_heard_and_said_in_a_video_is_told_apart() -> None:
    heard = hit(FILE, modality=VIDEO, matched=AUDIO, start_ms=130_000, end_ms=135_000)
    said = hit(FILE, modality=VIDEO, matched=TEXT, text="Hi!", start_ms=4000, end_ms=5000)
    found = hit(FILE, modality=VIDEO, start_ms=0, others=(heard, *frames(40), said))
    assert others_text(found) == "also at 0:40; sound at 2:10; subtitle at 0:04"


def test_other_passages_are_counted_or_told_by_their_pages() -> None:
    assert others_text(hit(FILE, modality=TEXT, text="a", others=passages(1))) == "and 1 more passage"
    assert others_text(hit(FILE, modality=TEXT, text="a", others=passages(3))) == "and 3 more passages"
    found = hit(FILE, modality=TEXT, text="a", page=3, others=passages(2, page=7) + passages(1, page=4))
    assert others_text(found) == "also on pages 4, 7"
    found = hit(FILE, modality=TEXT, text="a", page=3, others=passages(2, page=3) + passages(1, page=4))
    assert others_text(found) == "also on page 4 and 2 more passages"


def test_a_photo_can_match_by_its_caption_too_and_the_other_way_round() -> None:
    caption = hit(FILE, matched=TEXT, text="a dog")
    picture = hit(FILE, matched=Modality.IMAGE)
    assert others_text(hit(FILE, others=(caption,))) == "also by its caption"
    assert others_text(hit(FILE, others=(caption, caption))) == "also by its captions"
    assert others_text(hit(FILE, matched=TEXT, text="a dog", others=(picture,))) == "also by its picture"


def test_nothing_else_is_no_line() -> None:
    assert others_text(hit(FILE)) == ""
