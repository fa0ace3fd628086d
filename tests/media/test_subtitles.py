from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.media.passages import split_passages
from mmsearch.media.subtitles import Cue, cue_blocks, read_cues
from tests.media.documents import checked


def _cues(text: str) -> list[Cue]:
    return list(read_cues([text]))


def test_cues_of_subrip_are_read_without_marks_of_style() -> None:
    text = "1\n00:00:01,500 --> 00:00:02,000\n<i>Hello</i>\n{\\an8}there &amp; you\n\n2\n"
    text += "01:02:03,004 --> 01:02:05,000\nBye\n"
    assert _cues(text) == [Cue("Hello\nthere & you", 1500, 2000), Cue("Bye", 3_723_004, 3_725_000)]


def test_cues_of_webvtt_are_read_without_its_settings_and_notes() -> None:
    text = (
        "WEBVTT - a film\n\nSTYLE\n::cue { color: red }\n\nNOTE\na remark\n\nintro\n"
        "00:01.000 --> 00:02.500 align:start\n"
        "<v Ann>Hello <c.loud>you</c>\n\n00:03.000 --> 00:04.000\nBye\n"
    )
    assert _cues(text) == [Cue("Hello you", 1000, 2500), Cue("Bye", 3000, 4000)]


def test_cues_without_blank_lines_between_them_are_told_apart() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\nOne\n2\n00:00:03,000 --> 00:00:04,000\nTwo\n"
    assert [cue.text for cue in _cues(text)] == ["One", "Two"]


def test_a_cue_that_ends_before_it_begins_has_no_length() -> None:
    assert _cues("00:00:05,000 --> 00:00:02,000\nOne") == [Cue("One", 5000, 5000)]


def test_neighbouring_cues_make_one_passage_with_the_time_of_all() -> None:
    text = "".join(f"{n}\n00:00:{n:02},000 --> 00:00:{n:02},900\nwords {n} of it\n\n" for n in range(1, 6))
    (passage,) = checked(text.encode(), "a.srt")
    assert (passage.start_ms, passage.end_ms) == (1000, 5900)
    assert passage.text.startswith("words 1 of it\nwords 2")


def test_a_long_pause_ends_a_passage() -> None:
    passages = list(split_passages(cue_blocks([Cue("One.", 0, 900), Cue("Two.", 60_000, 61_000)])))
    assert [(passage.text, passage.start_ms) for passage in passages] == [("One.", 0), ("Two.", 60_000)]


def test_each_passage_of_a_long_talk_has_the_time_of_its_own_cues() -> None:
    cues = [Cue(f"This is sentence number {n} of a talk on dogs.", n * 1000, n * 1000 + 900) for n in range(100)]
    passages = list(split_passages(cue_blocks(cues)))
    assert len(passages) > 5
    for passage in passages:
        numbers = [int(line.split()[4]) for line in passage.text.split("\n")]
        assert (passage.start_ms, passage.end_ms) == (numbers[0] * 1000, numbers[-1] * 1000 + 900)


def test_captions_that_roll_up_are_taken_once() -> None:
    cues = [Cue("one", 0, 1000), Cue("one\ntwo", 1000, 2000), Cue("two\nthree", 2000, 3000), Cue("three", 3000, 4000)]
    assert "".join(block.text for block in cue_blocks(cues)) == "one\ntwo\nthree\n"


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["1", "", "00:01.000 --> 00:02.000", "9999:99:99,999 --> 0:0:0.0", "NOTE", "a <b", "-->"]))
)
def test_any_lines_give_cues_in_their_order_with_a_time(lines: list[str]) -> None:
    for cue in _cues("\n".join(lines)):
        assert cue.text
        assert 0 <= cue.start_ms <= cue.end_ms
