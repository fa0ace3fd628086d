"""Segments that match become one hit for each item."""

from __future__ import annotations

from pathlib import Path

from mmsearch.retrieval.grouping import MAX_OTHERS, group
from mmsearch.retrieval.ranking import Match
from mmsearch.types import Item, MediaInfo, Modality, Segment, SegmentRecord


def _match(
    segment: int,
    item: int = 1,
    relevance: float = 0.9,
    modality: Modality = Modality.TEXT,
    start: int | None = None,
    end: int | None = None,
    shot: int | None = None,
) -> Match:
    kind = Modality.VIDEO if modality in (Modality.VIDEO, Modality.AUDIO) else modality
    record = SegmentRecord(
        Segment(segment, item, segment, modality, start, end, text=f"{segment}", shot=shot),
        Item(item, kind, Path(f"/{item}"), None, 1, 1, MediaInfo(), {}),
    )
    return Match(record, relevance, relevance, "vector")


def _frame(segment: int, start: int, shot: int, relevance: float = 0.9, item: int = 1) -> Match:
    return _match(segment, item, relevance, Modality.VIDEO, start, None, shot)


def _window(segment: int, start: int, relevance: float = 0.9) -> Match:
    return _match(segment, 1, relevance, Modality.AUDIO, start, start + 1000)


def test_nothing_matches_nothing() -> None:
    assert group([], 5) == group([[], []], 5) == []


def test_an_item_is_one_hit_with_its_other_segments_under_the_best() -> None:
    hits = group([[_match(5, 1, 0.9), _match(7, 2, 0.8), _match(6, 1, 0.7), _match(8, 1, 0.6)]], 10)
    assert [(hit.rank, hit.item_id, hit.segment_id) for hit in hits] == [(1, 1, 5), (2, 2, 7)]
    assert [other.segment_id for other in hits[0].others] == [6, 8] and hits[1].others == ()
    assert [hit.segment_id for hit in hits[0].unfolded()] == [5, 6, 8]
    assert all(hit.stage == "vector" for hit in hits)


def test_others_that_match_much_less_are_left_out() -> None:
    (hit,) = group([[_match(1, relevance=0.9), _match(2, relevance=0.5), _match(3, relevance=0.4)]], 1)
    assert [other.segment_id for other in hit.others] == [2]


def test_not_all_of_a_long_item_is_folded() -> None:
    (hit,) = group([[_match(number) for number in range(100)]], 1)
    assert len(hit.others) == MAX_OTHERS


def test_frames_of_one_shot_are_one_hit_with_a_range() -> None:
    frames = [_frame(1, 4000, 0), _frame(2, 9000, 1), _frame(3, 6000, 0, 0.8), _frame(4, 2000, 0, 0.7)]
    (hit,) = group([frames], 5)
    assert (hit.segment_id, hit.start_ms, hit.end_ms) == (1, 2000, 6000)
    assert [(other.segment_id, other.start_ms, other.end_ms) for other in hit.others] == [(2, 9000, None)]


def test_shots_of_equal_number_in_two_videos_stay_apart() -> None:
    hits = group([[_frame(1, 1000, 0, item=1), _frame(2, 5000, 0, 0.8, item=2)]], 5)
    assert [(hit.start_ms, hit.end_ms) for hit in hits] == [(1000, None), (5000, None)]


def test_windows_that_overlap_a_better_one_are_left_out() -> None:
    (hit,) = group([[_window(1, 500), _window(2, 1000, 0.8), _window(3, 1500, 0.8), _window(4, 0, 0.7)]], 5)
    assert hit.segment_id == 1 and [other.segment_id for other in hit.others] == [3]


def test_a_picture_at_the_time_of_a_sound_is_no_part_of_it() -> None:
    (hit,) = group([[_frame(1, 600, 0)], [_window(2, 500)]], 5)
    assert [part.segment_id for part in hit.unfolded()] == [1, 2]


def test_a_segment_that_two_encoders_found_is_shown_once() -> None:
    twice = [[_match(1, relevance=0.6), _match(2, relevance=0.5)], [_match(2, relevance=0.9), _match(1, relevance=0.8)]]
    (hit,) = group(twice, 5)
    assert [part.segment_id for part in hit.unfolded()] == [2, 1] and hit.relevance == 0.9
    frames = [[_frame(1, 3000, 0)], [_frame(1, 3000, 0, 0.8)]]
    (hit,) = group(frames, 5)
    assert (hit.start_ms, hit.end_ms, hit.others) == (3000, None, ())


def test_lists_are_joined_and_no_more_than_k_items_come_out() -> None:
    texts = [_match(number, number, 0.9 - number / 100) for number in range(1, 20)]
    images = [_match(number + 100, number + 100, 0.3, Modality.IMAGE) for number in range(1, 20)]
    hits = group([texts, images], 6)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5, 6] and {hit.stage for hit in hits} == {"fused"}
    assert hits[0].item_id == 1 and [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert group([texts, images], 6) == hits
