"""Files that are not what they should be: indexed as far as they go, or passed over with a reason; never a crash."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mmsearch.types import Modality
from tests.indexer.shelf import Shelf, counts, put, reasons
from tests.media.documents import zipped
from tests.media.recordings import BLUE, GREEN, RED, av, noise, picture, shots, tone, write_sound, write_video

RATE = 16_000


def _kinds(shelf: Shelf, path: Path) -> set[Modality]:
    return {segment.modality for segment in shelf.segments(path)}


def test_a_video_without_a_picture_is_heard(shelf: Shelf, photos: Path) -> None:
    path = write_sound(photos / "talk.mkv", tone(2.0, rate=48_000), rate=48_000)
    assert counts(shelf.sync(photos))["new"] == 1
    assert shelf.items() == {"talk.mkv": Modality.VIDEO} and _kinds(shelf, path) == {Modality.AUDIO}


def test_a_video_without_a_sound_is_seen(shelf: Shelf, photos: Path) -> None:
    path = write_video(photos / "mute.mp4", shots((RED, 1.0)))
    summary = shelf.sync(photos)
    assert counts(summary)["new"] == 1 and summary.notices == ()
    assert _kinds(shelf, path) == {Modality.VIDEO}


def _write_words(path: Path, *, seen: bool) -> Path:
    """A film of two seconds that says something, with pictures or without."""
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=10) if seen else None
        said = container.add_stream("ass")
        said.codec_context.subtitle_header = (
            b"[Script Info]\r\nScriptType: v4.00+\r\n\r\n[V4+ Styles]\r\nFormat: Name\r\nStyle: Default\r\n\r\n"
            b"[Events]\r\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text\r\n"
        )
        said.time_base = said.codec_context.time_base = Fraction(1, 1000)
        if pictures is not None:
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
            for image in shots((RED, 1.0), (BLUE, 1.0)):
                container.mux(pictures.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(pictures.encode(None))
        cue = av.subtitles.subtitle.SubtitleSet.create(b"0,0,Default,,0,0,0,,A parrot speaks.", 0, 900, pts=500_000)
        packet = said.codec_context.encode_subtitle(cue)
        packet.stream, packet.time_base = said, Fraction(1, 1000)
        packet.pts = packet.dts = 500
        packet.duration = 900
        container.mux(packet)
    return path


def test_a_video_with_neither_is_passed_over(shelf: Shelf, photos: Path) -> None:
    _write_words(photos / "words.mkv", seen=False)
    summary = shelf.sync(photos)
    assert counts(summary) == {"skipped": 1} and reasons(summary) == {"words.mkv": "no picture stream in it"}


def test_what_is_said_in_a_video_is_found(shelf: Shelf, photos: Path) -> None:
    path = _write_words(photos / "words.mkv", seen=True)
    shelf.sync(photos)
    (line,) = [s for s in shelf.segments(path) if s.modality is Modality.TEXT]
    assert (line.text, line.start_ms, line.end_ms) == ("A parrot speaks.", 500, 1400)
    other = Shelf(shelf.library.with_name("other"))
    other.sync(photos, captions=False)
    assert other.texts(path) == []


def test_variable_rates_and_rotation_change_nothing_but_the_facts(shelf: Shelf, photos: Path) -> None:
    images = shots((RED, 1.0), (GREEN, 1.0), (BLUE, 1.0))
    times = [0.04 * n + 0.3 * (n // 7) for n in range(len(images))]
    varied = write_video(photos / "varied.mp4", images, times=times)
    turned = write_video(photos / "turned.mp4", images, rotation=(90, False, False))
    assert counts(shelf.sync(photos))["new"] == 2
    for path in (varied, turned):
        starts = [s.start_ms or 0 for s in shelf.segments(path)]
        assert len(starts) >= 3 and starts == sorted(set(starts))


@pytest.mark.parametrize("share", [0.02, 0.4, 0.8, 0.98])
def test_a_truncated_video_is_kept_as_far_as_it_goes_or_told(shelf: Shelf, photos: Path, share: float) -> None:
    images = [noise(number) for number in range(60)]
    whole = write_video(photos / "whole.mkv", images, gop=5, sound=(0.0, tone(6.0, rate=RATE)))
    content = whole.read_bytes()
    whole.unlink()
    for suffix in ("mkv", "mp4", "avi"):
        put(photos / f"part.{suffix}", content[: int(len(content) * share)])
    summary = shelf.sync(photos)
    assert len(shelf.items()) + len(summary.skipped) == 3
    assert all(failure.reason for failure in summary.skipped)
    assert share < 0.4 or _kinds(shelf, photos / "part.mkv") == {Modality.VIDEO, Modality.AUDIO}
    assert shelf.sync(photos).stage_seconds["decode"] == 0


def test_sounds_of_many_channels_and_low_rates_are_heard(shelf: Shelf, photos: Path) -> None:
    eight = np.stack([tone(1.5, rate=48_000, hertz=200 + 100 * n) for n in range(8)]) / 8
    write_sound(photos / "eight.flac", eight, rate=48_000, layout="7.1")
    write_sound(photos / "low.wav", tone(1.5, rate=8000), rate=8000)
    assert counts(shelf.sync(photos)) == {"new": 2, "embedded": 4}


def test_a_sound_that_is_silent_throughout_is_passed_over_for_that(shelf: Shelf, photos: Path) -> None:
    write_sound(photos / "silent.wav", np.zeros(3 * RATE, np.float32), rate=RATE)
    write_sound(photos / "half.wav", np.concatenate([tone(1.0, rate=RATE), np.zeros(3 * RATE, np.float32)]), rate=RATE)
    summary = shelf.sync(photos)
    assert reasons(summary) == {"silent.wav": "nothing to hear in it"}
    assert max(s.end_ms or 0 for s in shelf.segments(photos / "half.wav")) <= 1500


def test_a_silent_video_is_seen(shelf: Shelf, photos: Path) -> None:
    path = write_video(photos / "a.mp4", shots((RED, 1.0)), sound=(0.0, np.zeros(RATE, np.float32)))
    assert counts(shelf.sync(photos))["new"] == 1 and _kinds(shelf, path) == {Modality.VIDEO}


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.m4a"])
def test_truncated_sounds_are_kept_as_far_as_they_go_or_told(shelf: Shelf, photos: Path, name: str) -> None:
    rate = 48_000
    content = write_sound(photos / name, tone(4.0, rate=rate), rate=rate).read_bytes()
    (photos / name).unlink()
    for part in (0.01, 0.5, 0.99):
        put(photos / f"{part}{name}", content[: max(20, int(len(content) * part))])
    summary = shelf.sync(photos)
    assert len(shelf.items()) + len(summary.skipped) == 3
    if name not in ("a.m4a",):  # whose table of contents is at the end
        assert f"0.5{name}" in shelf.items()


def test_texts_in_disguise_are_passed_over_with_reasons(shelf: Shelf, photos: Path) -> None:
    put(photos / "zip.docx", zipped({"a.txt": "no Word document"}))
    put(photos / "text.docx", "plain words")
    put(photos / "binary.txt", bytes(np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8)))
    put(photos / "fake.pdf", "plain words")
    put(photos / "scripts.html", "<html>" + "<script>var a = 'b';</script>" * 5000 + "</html>")
    put(photos / "blank.md", "  \n\n \t\n")
    put(photos / "good.txt", "A note.")
    summary = shelf.sync(photos)
    assert counts(summary) == {"new": 1, "embedded": 1, "skipped": 6}
    found = reasons(summary)
    assert found["scripts.html"] == found["blank.md"] == "no text in it" and all(found.values())
    assert counts(shelf.sync(photos)) == {"unchanged": 1, "skipped": 6}


def test_files_of_no_content_are_passed_over(shelf: Shelf, photos: Path) -> None:
    for suffix in ("txt", "mp3", "mp4", "pdf", "srt"):
        put(photos / f"empty.{suffix}", b"")
        put(photos / f"zeros.{suffix}", bytes(5000))
    put(photos / "text.mp4", "no video at all")
    put(photos / "text.mp3", "no sound at all")
    put(photos / "good.txt", "A note.")
    summary = shelf.sync(photos)
    assert set(shelf.items()) == {"good.txt"}
    assert {reason for name, reason in reasons(summary).items() if name.startswith("empty")} == {"empty file"}
    assert len(summary.skipped) == 10  # one that is empty belongs to a video of its name, and so do its zeros


def test_a_video_of_no_length_is_one_frame(shelf: Shelf, photos: Path) -> None:
    path = write_video(photos / "still.mp4", [picture(RED)])
    assert counts(shelf.sync(photos)) == {"new": 1, "embedded": 1}
    assert [s.start_ms for s in shelf.segments(path)] == [0]


def test_a_text_that_is_damaged_further_on_is_kept_up_to_there(shelf: Shelf, photos: Path) -> None:
    rows = "".join(f'{{"row": "{number} {"filling " * 30}"}},\n' for number in range(200))
    path = put(photos / "cut.json", f"[{rows}" + '{"row": "is cut')
    summary = shelf.sync(photos)
    assert summary.new == 1 and len(shelf.segments(path)) >= 200
    assert len(summary.notices) == 1 and "cut.json was read in part only (" in summary.notices[0]
    assert counts(shelf.sync(photos)) == {"unchanged": 1}


def test_a_folder_of_videos_is_read_with_few_of_them_open_at_a_time(
    shelf: Shelf, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmsearch.media import video as module

    content = write_video(photos / "0.mp4", shots((RED, 0.5), (BLUE, 0.5)), gop=5).read_bytes()
    for number in range(1, 40):  # what follows the last box of an MP4 is not read
        put(photos / f"{number}.mp4", content + b"\0\0\0\x0cfree" + number.to_bytes(4))
    lock, opened, most = threading.Lock(), 0, 0
    frames = module._frames

    def counted(*arguments: object) -> object:
        nonlocal opened, most
        with lock:
            opened += 1
            most = max(most, opened)
        try:
            yield from frames(*arguments)  # type: ignore[arg-type]
        finally:
            with lock:
                opened -= 1

    monkeypatch.setattr(module, "_frames", counted)
    assert counts(shelf.sync(photos))["new"] == 40
    assert opened == 0 and 0 < most <= 13
