from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from mmsearch.present.jsonl import json_line
from mmsearch.present.report import (
    columns,
    failure_lines,
    index_text,
    status_dict,
    status_lines,
    summary_dict,
    summary_lines,
)
from mmsearch.types import EncoderRecord, Failure, IndexSummary, LibraryStatus

STATUS = LibraryStatus(
    path=Path("/lib"),
    version=1,
    items={"image": 1199, "text": 1},
    segments=1205,
    segments_by_modality={"image": 1199, "text": 6},
    failures=2,
    encoders=(EncoderRecord("mini", 256),),
    indexes=(
        {
            "encoder": "mini",
            "modality": "image",
            "kind": "flat",
            "vectors": 1000,
            "pending": 199,
            "size_bytes": 600_000,
        },
        {"encoder": "mini", "modality": "text", "kind": "flat", "vectors": 6, "pending": 0, "size_bytes": 4000},
    ),
    roots=({"path": "/photos", "items": 1, "present": True}, {"path": "/usb", "items": 1199, "present": False}),
    catalog_bytes=2_000_000,
)


def failed(count: int) -> tuple[Failure, ...]:
    return tuple(Failure(Path(f"/photos/{number}.jpg"), "truncated JPEG") for number in range(count))


def test_the_summary_gives_numbers_pace_and_stages() -> None:
    summary = IndexSummary(
        new=10, moved=2, copied=1, removed=1, unchanged=1200, embedded=10, elapsed_s=4.0,
        stage_seconds={"scan": 0.02, "decode": 3.0, "encode": 2.5, "store": 0.0},
    )  # fmt: skip
    assert list(summary_lines(summary)) == [
        "10 new, 2 moved, 1 copied, 1 removed, 1,200 unchanged.",
        "10 embedded in 4.0 s, 2.5/s (scan 0.0 s, decode 3.0 s, encode 2.5 s).",
    ]


def test_the_summary_says_what_was_embedded_by_kind() -> None:
    embedded = {"video": 45, "audio": 80, "image": 30, "text": 1}
    lines = list(summary_lines(IndexSummary(new=43, embedded=156, embedded_by=embedded, elapsed_s=4.0)))
    assert lines[-1] == "30 photos, 1 passage, 80 sound windows, 45 frames embedded in 4.0 s, 39.0/s."
    row = json.loads(json_line(summary_dict(IndexSummary(embedded=156, embedded_by=embedded, elapsed_s=4.0))))
    assert (row["embedded_by"], row["segments_per_second"]) == (embedded, 39.0)
    lines = list(summary_lines(IndexSummary(new=1, embedded=1, embedded_by={"image": 1, "text": 0}, elapsed_s=1.0)))
    assert lines[-1] == "1 photo embedded in 1.0 s, 1.0/s."


def test_every_skipped_file_is_listed_once_with_its_reason() -> None:
    lines = list(summary_lines(IndexSummary(new=1, skipped=failed(2))))
    assert lines == [
        "Skipped 2 files:",
        "  /photos/0.jpg: truncated JPEG",
        "  /photos/1.jpg: truncated JPEG",
        "1 new, 2 skipped.",
    ]


def test_many_skipped_files_are_cut_short_with_the_command_that_shows_them() -> None:
    lines = list(summary_lines(IndexSummary(skipped=failed(1020))))
    assert len([line for line in lines if "truncated" in line]) == 20
    assert "  and 1,000 more; to see all: mmsearch status --failures" in lines


def test_an_interrupted_run_says_how_to_go_on() -> None:
    lines = list(summary_lines(IndexSummary(new=64, embedded=64, elapsed_s=1, interrupted=True)))
    assert lines[-1] == "Saved 64 files. Run the same command again to go on."
    lines = list(summary_lines(IndexSummary(new=1, embedded=1, elapsed_s=1, interrupted=True)))
    assert lines[-1].startswith("Saved 1 file.")


def test_notices_come_first_and_an_empty_run_says_so() -> None:
    lines = list(summary_lines(IndexSummary(kept=5, notices=("/mnt/usb is not there;\nits photos are kept.",))))
    assert lines == ["/mnt/usb is not there;\\nits photos are kept.", "5 kept."]
    assert list(summary_lines(IndexSummary())) == ["Nothing to do."]


def test_a_run_that_was_ended_in_its_first_long_file_did_something() -> None:
    summary = IndexSummary(embedded=512, embedded_by={"text": 512}, elapsed_s=2.0, interrupted=True)
    first, last = summary_lines(summary)
    assert first.startswith("512 passages embedded")
    assert last.startswith("Saved 0 files.")


def test_the_summary_for_programs_is_plain_json() -> None:
    row = json.loads(json_line(summary_dict(IndexSummary(new=1, skipped=failed(1), stage_seconds={"scan": 0.12345}))))
    assert row["new"] == 1
    assert row["skipped"] == [{"path": "/photos/0.jpg", "reason": "truncated JPEG"}]
    assert row["stage_seconds"] == {"scan": 0.123}


def test_the_status_names_what_a_library_holds() -> None:
    assert list(status_lines(STATUS)) == [
        "Library   /lib (version 1, catalog 2.0 MB)",
        "Items     1,199 photos, 1 text",
        "Segments  1,199 photos, 6 passages",
        "Model     mini (256 dimensions)",
        "Index     photos, flat: 1,000 vectors, 600 kB, 199 searched from the catalog until the next run of mmsearch "
        "index",
        "Index     passages, flat: 6 vectors, 4.0 kB",
        "Folder    /photos: 1 item",
        "Folder    /usb: 1,199 items  (not there now; its items are kept)",
        "Skipped   2 files; to list them: mmsearch status --failures",
    ]


def test_with_several_models_each_index_names_its_own() -> None:
    clap = {"encoder": "clap/x", "modality": "audio", "kind": "flat", "vectors": 9, "pending": 0, "size_bytes": 100}
    encoders = (EncoderRecord("mini", 256), EncoderRecord("clap/x", 512))
    lines = list(status_lines(replace(STATUS, encoders=encoders, indexes=(*STATUS.indexes, clap))))
    assert "Index     mini passages, flat: 6 vectors, 4.0 kB" in lines
    assert "Index     clap/x sound windows, flat: 9 vectors, 100 B" in lines


def test_a_library_without_items_and_an_index_of_unknown_content_are_told() -> None:
    index = {"encoder": "mini", "kind": None, "vectors": 0, "pending": 0, "size_bytes": 0}
    lines = list(status_lines(replace(STATUS, items={}, segments=0, segments_by_modality={}, indexes=(index,))))
    assert "Items     none" in lines and "Index     none yet: 0 vectors, 0 B" in lines
    assert not any(line.startswith("Segments") for line in lines)


def test_the_status_for_programs_has_items_segments_encoders_indexes_sizes_and_roots() -> None:
    row = json.loads(json_line(status_dict(STATUS)))
    assert row == {
        "tokens": [],
        "library": "/lib",
        "version": 1,
        "items": {"image": 1199, "text": 1},
        "segments": 1205,
        "segments_by_modality": {"image": 1199, "text": 6},
        "failures": 2,
        "encoders": [{"id": "mini", "dim": 256}],
        "indexes": [
            {
                "encoder": "mini", "modality": "image", "kind": "flat", "vectors": 1000, "pending": 199,
                "size_bytes": 600_000,
            },
            {"encoder": "mini", "modality": "text", "kind": "flat", "vectors": 6, "pending": 0, "size_bytes": 4000},
        ],
        "roots": [
            {"path": "/photos", "items": 1, "present": True},
            {"path": "/usb", "items": 1199, "present": False},
        ],
        "catalog_bytes": 2_000_000,
    }  # fmt: skip
    assert status_dict(STATUS, failed(1))["failed"] == [{"path": "/photos/0.jpg", "reason": "truncated JPEG"}]


def test_an_index_that_does_not_exist_yet_is_described() -> None:
    assert index_text({"modality": "video", "kind": "flat"}).startswith("frames, flat: 0 vectors")
    assert index_text({"kind": None, "vectors": 0, "pending": 3, "size_bytes": 0}).startswith("none yet: 0 vectors")


def test_failures_with_odd_names_stay_on_one_line() -> None:
    assert list(failure_lines([Failure(Path("/a\nb.jpg"), "empty file")])) == ["/a\\nb.jpg: empty file"]


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert list(columns([("a", "bbb", "c"), ("aaa", "b", "")])) == ["a    bbb  c", "aaa  b"]
    long = "x" * 80
    assert list(columns([(long, "1"), ("a", "2")])) == [f"{long}  1", f"{'a':<56}  2"]
