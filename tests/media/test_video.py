from __future__ import annotations

import os
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmsearch.errors import MediaError
from mmsearch.media import frames as frames_module
from mmsearch.media import video as module
from mmsearch.media.video import VideoFrame, read_frame, read_subtitles, read_video, read_video_info
from tests.media.recordings import (
    BLACK,
    BLUE,
    GREEN,
    RED,
    WHITE,
    all_frames,
    av,
    noise,
    picture,
    shots,
    tone,
    write_sound,
    write_video,
)

THREE = shots((RED, 3), (GREEN, 2), (BLUE, 4))
ORIENTATIONS = [(angle, flip, False) for angle in (0, 90, 180, 270) for flip in (False, True)]


def _read(path: Path, **options: Any) -> list[VideoFrame]:
    return list(read_video(path, **{"target_side": 48, **options}))


def _reason(path: Path) -> str:
    with pytest.raises(MediaError) as raised:
        _read(path)
    assert raised.value.path == path
    return raised.value.reason


def _colour(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=float).mean(axis=(0, 1))


def _assert_three_shots(frames: list[VideoFrame], *, accuracy: float = 0) -> None:
    borders = [(frame.shot, frame.shot_start_ms, frame.shot_end_ms) for frame in frames]
    assert [number for number, _, _ in borders] == [0, 1, 2]
    for got, wanted in zip(borders, [(0, 3000), (3000, 5000), (5000, 9000)], strict=True):
        assert got[1:] == pytest.approx(wanted, abs=accuracy)
    for frame, colour in zip(frames, (RED, GREEN, BLUE), strict=True):
        assert frame.shot_start_ms <= frame.time_ms < frame.shot_end_ms
        assert frame.image.mode == "RGB"
        assert frame.image.size == (64, 48)
        assert np.abs(_colour(frame.image) - colour).max() < 12


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One number: packets that were decoded."""
    count = [0]
    decode = frames_module.decode_packet

    def counted(stream: Any, packet: Any, errors: list[int]) -> list[Any]:
        count[0] += packet is not None
        return decode(stream, packet, errors)

    monkeypatch.setattr(frames_module, "decode_packet", counted)
    return count


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mp4", "libx264", "yuv420p"),
        ("a.mov", "mpeg4", "yuv420p"),
        ("a.mkv", "libx264", "yuv444p"),
        ("b.mkv", "ffv1", "bgr0"),
        ("a.webm", "libvpx", "yuv420p"),
        ("b.webm", "libvpx-vp9", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.ts", "mpeg2video", "yuv420p"),
        ("a.flv", "flv", "yuv420p"),
        ("b.mov", "prores_ks", "yuv422p10le"),
        ("b.avi", "mjpeg", "yuvj420p"),
        ("c.avi", "rawvideo", "gray"),
    ],
)
def test_every_format_gives_a_frame_of_each_shot(name: str, codec: str, pixels: str, tmp_path: Path) -> None:
    rate = 25 if codec == "mpeg2video" else 10
    images = shots((RED, 3), (GREEN, 2), (BLUE, 4), rate=rate)
    path = write_video(tmp_path / name, images, codec=codec, pixels=pixels, gop=rate, rate=rate)
    frames = _read(path)
    if pixels == "gray":
        assert [frame.time_ms // 1000 for frame in frames]
        return
    _assert_three_shots(frames, accuracy=110 if name == "a.ts" else 1)


def test_borders_of_shots_within_a_group_of_pictures_are_exact_in_a_short_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", THREE, codec="mpeg4", gop=600, options={"sc_threshold": "1000000000"})
    with av.open(str(path)) as container:
        assert sum(packet.is_keyframe for packet in container.demux(video=0)) <= 2
    _assert_three_shots(_read(path))


@pytest.mark.parametrize("gop", [5, 20, 300])
@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_frames_are_those_of_a_full_decode_at_their_times(gop: int, codec: str, tmp_path: Path) -> None:
    images = [picture((40 + number, 120, 200 - number), mark=number // 7) for number in range(150)]
    path = write_video(tmp_path / "a.mp4", images, codec=codec, gop=gop)
    truth = {time: frame.to_ndarray(format="rgb24") for time, frame in all_frames(path)}
    frames = _read(path, max_gap_ms=1000)
    assert len(frames) >= 10
    for frame in frames:
        assert np.abs(np.asarray(frame.image, dtype=int) - truth[frame.time_ms]).mean() < 3
        others = [np.abs(np.asarray(frame.image, dtype=int) - truth[time]).mean() for time in truth]
        assert others[list(truth).index(frame.time_ms)] <= min(others) + 0.5


def test_the_cost_grows_with_the_frames_that_are_wanted_and_not_with_the_length(
    tmp_path: Path, decoded: list[int]
) -> None:
    costs = []
    for minutes in (1, 2, 8):
        colours = [
            (60 + 40 * (number % 4), 90 * (number % 3), 200 - 30 * (number % 5)) for number in range(6 * minutes)
        ]
        images = shots(*((colour, 10) for colour in colours), rate=5)
        path = write_video(tmp_path / f"{minutes}.mp4", images, rate=5, gop=10)
        decoded[0] = 0
        frames = _read(path, max_frames=8)
        assert 4 <= len(frames) <= 8
        assert decoded[0] < len(images) / 4
        costs.append(decoded[0])
    assert costs[2] <= 5 * 8
    assert costs[2] <= costs[0] + 16


def test_a_long_video_with_one_key_frame_costs_a_bounded_number_of_frames(
    tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmsearch.media.probes._SHORT_FRAMES", 50)
    images = [picture((100, 100, 100), mark=number // 40) for number in range(1000)]
    path = write_video(tmp_path / "a.mp4", images, codec="mpeg4", gop=2000, options={"sc_threshold": "1000000000"})
    frames = _read(path, max_frames=2)
    assert 1 <= len(frames) <= 2
    assert decoded[0] <= 2 * (2 * 48 + 50) + 4


def test_a_still_picture_gives_one_frame_however_long_it_is_shown(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [noise(1)] * 300, gop=10)
    (frame,) = _read(path, max_gap_ms=2000)
    assert (frame.shot, frame.shot_start_ms, frame.shot_end_ms) == (0, 0, 30_000)


def test_a_moving_picture_gives_a_frame_in_every_gap(tmp_path: Path) -> None:
    images = [np.roll(picture((120, 120, 120), mark=1), number, axis=1) for number in range(200)]
    path = write_video(tmp_path / "a.mp4", images, gop=5)
    frames = _read(path, max_gap_ms=2000)
    times = [0, *(frame.time_ms for frame in frames), 20_000]
    assert {frame.shot for frame in frames} == {0}
    assert max(np.diff(times)) <= 4000


def test_black_frames_are_left_out(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", shots((BLACK, 2), (RED, 3), (BLACK, 2), (GREEN, 3)), gop=10)
    frames = _read(path)
    assert [(frame.shot, frame.shot_start_ms) for frame in frames] == [(1, 2000), (3, 7000)]


def test_a_video_that_is_black_throughout_gives_one_frame(tmp_path: Path) -> None:
    assert len(_read(write_video(tmp_path / "a.mp4", shots((BLACK, 5)), gop=10))) == 1


def test_blurred_frames_are_left_out_where_there_is_a_sharp_one(tmp_path: Path) -> None:
    images = [noise(3, block=16, blur=2 if number % 20 >= 10 else 0) for number in range(100)]
    path = write_video(tmp_path / "a.mp4", images, gop=10, options={"crf": "10"})
    frames = _read(path, max_gap_ms=1000)
    assert frames
    assert all(frame.time_ms % 2000 < 1000 for frame in frames)


def test_too_many_frames_are_thinned_evenly(tmp_path: Path) -> None:
    colours = [(200 if number % 2 else 30, 20 * (number % 10), 120) for number in range(60)]
    path = write_video(tmp_path / "a.mp4", shots(*((colour, 1) for colour in colours)), gop=10)
    frames = _read(path, max_frames=10)
    times = [frame.time_ms for frame in frames]
    assert 8 <= len(frames) <= 10
    assert max(np.diff([0, *times, 60_000])) <= 15_000
    assert len(_read(path, max_frames=1)) == 1


@pytest.mark.parametrize("way", ORIENTATIONS)
def test_turned_and_mirrored_videos_are_upright(way: tuple[int, bool, bool], tmp_path: Path) -> None:
    upright = picture((90, 90, 90))
    upright[4:20, 4:28] = RED
    upright[30:44, 4:12] = GREEN
    # A player turns by the angle, counterclockwise, and mirrors then: what is stored is the way back.
    angle, flip, _ = way
    stored = np.rot90(upright[:, ::-1] if flip else upright, -angle // 90)
    path = write_video(
        tmp_path / "a.mp4", [np.ascontiguousarray(stored)] * 5, rotation=way, options={"crf": "5"}, pixels="yuv444p"
    )
    (frame,) = _read(path)
    assert frame.image.size == (64, 48)
    assert np.abs(np.asarray(frame.image, dtype=int) - upright).mean() < 5
    info = read_video_info(path)
    assert (info.width, info.height) == (64, 48)


def test_pixels_that_are_not_square_are_made_square(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [noise(1)] * 5, aspect=Fraction(2, 1))
    assert _read(path)[0].image.size == (128, 48)
    assert read_video_info(path).width == 128
    path = write_video(tmp_path / "b.mp4", [noise(1)] * 5, aspect=Fraction(1, 2))
    assert _read(path, target_side=64)[0].image.size == (64, 96)


def test_the_shorter_side_is_shrunk_to_the_target_and_never_enlarged(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [picture(RED, size=(320, 160))] * 5)
    assert _read(path, target_side=64)[0].image.size == (128, 64)
    assert _read(path, target_side=500)[0].image.size == (320, 160)


def test_an_extremely_wide_video_keeps_its_middle(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", [picture(RED, size=(2048, 16))] * 3, codec="mjpeg", pixels="yuvj420p")
    assert _read(path)[0].image.size == (24 * 16, 16)


def test_a_variable_frame_rate_gives_true_times(tmp_path: Path) -> None:
    times = [0.0, 0.1, 0.25, 1.7, 3.0, 3.05, 3.6, 4.9, 5.0, 5.5, 8.0, 8.9]
    images = [picture(RED if time < 3 else GREEN if time < 5 else BLUE) for time in times]
    path = write_video(tmp_path / "a.mkv", images, times=times, gop=4, options={"bf": "0"})
    frames = _read(path)
    assert [frame.shot_start_ms for frame in frames] == [0, 3000, 5000]
    truth = {time for time, _ in all_frames(path)}
    assert all(frame.time_ms in truth for frame in frames)


def test_a_video_that_does_not_say_how_long_it_is_is_measured(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", THREE, gop=10, muxer={"live": "1"})
    with av.open(str(path)) as container:
        assert container.duration is None or container.streams.video[0].duration is None
    _assert_three_shots(_read(path), accuracy=101)
    assert read_video_info(path).duration_ms == pytest.approx(9000, abs=101)


def test_times_count_from_the_beginning_of_a_stream_that_starts_late(tmp_path: Path) -> None:
    times = [100 + number / 10 for number in range(90)]
    path = write_video(tmp_path / "a.mkv", THREE, times=times, gop=10)
    _assert_three_shots(_read(path), accuracy=101)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.avi", "a.ts", "a.flv"])
def test_a_truncated_video_gives_what_is_left_of_it(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    codec = {".avi": "mpeg4", ".ts": "mpeg2video", ".flv": "flv"}.get(name[1:], "libx264")
    rate = 25 if codec == "mpeg2video" else 10
    images = [noise(number // rate) for number in range(20 * rate)]
    muxer = {"movflags": "+faststart"} if name == "a.mp4" else None
    path = write_video(tmp_path / name, images, codec=codec, gop=rate, rate=rate, muxer=muxer)
    capfd.readouterr()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames = _read(path)
    assert len(frames) >= 2
    assert 3000 < frames[-1].time_ms < 12_000
    assert frames[-1].shot_end_ms < 14_000
    assert capfd.readouterr() == ("", "")


def test_a_video_of_one_frame_gives_that_frame(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.mkv"):
        (frame,) = _read(write_video(tmp_path / name, [picture(RED)]))
        assert frame.time_ms == 0


def test_an_animated_gif_is_read_as_a_video(tmp_path: Path) -> None:
    images = [Image.fromarray(image) for image in THREE]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=100, loop=0)
    _assert_three_shots(_read(tmp_path / "a.gif"), accuracy=1)


def test_what_is_transparent_is_shown_over_white(tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgba"
        pixels = np.zeros((48, 64, 4), dtype=np.uint8)
        pixels[:, 32:] = (*RED, 255)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")))
        container.mux(stream.encode(None))
    shown = np.asarray(_read(path)[0].image)
    assert tuple(shown[24, 10]) == WHITE
    assert tuple(shown[24, 50]) == RED


def test_ten_bits_keep_their_colours(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", THREE, pixels="yuv420p10le", gop=10)
    _assert_three_shots(_read(path))


@pytest.mark.parametrize(("curve", "white"), [(16, 0.58), (18, 0.75)])
def test_high_dynamic_range_shows_white_as_white(curve: int, white: float, tmp_path: Path) -> None:
    image = np.full((48, 64, 3), round(white * 255), dtype=np.uint8)
    image[:, :20] = round(white * 255 * 0.6)
    colours = {"color_trc": curve, "color_primaries": 9, "colorspace": 9}
    path = write_video(tmp_path / "a.mkv", [image] * 3, pixels="yuv420p10le", colours=colours)
    shown = np.asarray(_read(path)[0].image, dtype=int)
    assert shown[24, 45].min() > 235
    assert 60 < shown[24, 8].mean() < 190
    assert np.ptp(shown[24, 45]) < 8


def test_an_interlaced_video_shows_one_moment(tmp_path: Path) -> None:
    image = picture(BLACK)
    image[0::2, 8:24] = 255  # a bar, and where it was a fiftieth of a second later
    image[1::2, 36:52] = 255
    path = write_video(
        tmp_path / "a.mkv",
        [image] * 3,
        codec="mpeg2video",
        rate=25,
        pixels="yuv422p",
        options={"flags": "+ildct+ilme", "qmin": "1", "qmax": "2"},
    )
    assert all_frames(path)[0][1].interlaced_frame
    row = np.asarray(_read(path)[0].image.convert("L"), dtype=int)[20:28].mean(axis=0)
    assert row[12:20].min() > 200
    assert row[40:48].max() < 55


def test_a_file_without_pictures_is_refused_also_when_it_has_a_cover(tmp_path: Path) -> None:
    sound = tone(1, rate=16_000)
    assert _reason(write_sound(tmp_path / "a.mp3", sound, rate=16_000)) == "no picture stream in it"
    covered = write_sound(tmp_path / "b.mp3", sound, rate=16_000, cover=True)
    with av.open(str(covered)) as container:
        assert len(container.streams.video) == 1
    assert _reason(covered) == "no picture stream in it"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".ts", ".gif"])
@pytest.mark.parametrize("content", ["nothing", "zeros", "noise", "text"])
def test_what_is_no_video_is_refused_and_nothing_is_printed(
    suffix: str, content: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = {
        "nothing": b"",
        "zeros": bytes(50_000),
        "noise": np.random.default_rng(0).bytes(50_000),
        "text": b"ab " * 99,
    }
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data[content])
    assert _reason(path) == ("empty file" if content == "nothing" else "not a sound or video")
    assert capfd.readouterr() == ("", "")


def test_files_that_are_not_there_or_no_files_are_refused(tmp_path: Path) -> None:
    assert _reason(tmp_path / "gone.mp4") == "no such file"
    assert _reason(tmp_path) == "not a regular file"
    os.mkfifo(tmp_path / "pipe.mp4")
    assert _reason(tmp_path / "pipe.mp4") == "not a regular file"
    with pytest.raises(MediaError):
        read_video_info(tmp_path / "gone.mp4")
    with pytest.raises(MediaError):
        list(read_subtitles(tmp_path / "gone.mp4"))


def test_a_playlist_in_disguise_opens_no_other_file(tmp_path: Path) -> None:
    video = write_video(tmp_path / "real.ts", THREE, codec="mpeg2video", rate=25)
    playlist = tmp_path / "a.mp4"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{video}\n#EXT-X-ENDLIST\n")
    assert _reason(playlist) == "not a sound or video"


def test_pictures_beyond_the_bound_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "a.mp4", [picture(RED)] * 3)
    monkeypatch.setattr(module, "MAX_PIXELS", 64 * 48 - 1)
    assert _reason(path) == "too many pixels (64 x 48)"


@pytest.mark.parametrize("read", [_read, read_video_info, lambda path: list(read_subtitles(path))])
def test_without_the_package_a_file_is_refused_with_its_name(
    read: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", [picture(RED)])
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MediaError, match="need the package av"):
        read(path)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_damaged_video_is_read_or_refused(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        name, codec = data.draw(
            st.sampled_from([("a.mp4", "libx264"), ("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx")])
        )
        path = write_video(Path(folder) / name, THREE[::3], codec=codec, gop=6)
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 20))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
        try:
            frames = _read(path, max_frames=6)
        except MediaError as error:
            assert 0 < len(error.reason) < 60
        else:
            assert 1 <= len(frames) <= 6
            assert all(frame.image.mode == "RGB" for frame in frames)


def test_leaving_off_in_the_middle_closes_the_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", THREE, gop=10)
    before = len(os.listdir("/dev/fd"))
    frames = read_video(path, target_side=48)
    next(frames)
    assert len(os.listdir("/dev/fd")) > before
    frames.close()  # type: ignore[attr-defined]
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize("wrong", [{"target_side": 0}, {"max_frames": 0}, {"max_gap_ms": -1}])
def test_sizes_that_make_no_sense_are_refused_at_once(wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="positive"):
        read_video(tmp_path / "a.mp4", **{"target_side": 48, **wrong})


@pytest.mark.parametrize(
    ("name", "codec", "gop"), [("a.mp4", "libx264", 12), ("a.mkv", "mpeg4", 300), ("a.avi", "mjpeg", 1)]
)
@pytest.mark.parametrize("rate", [10, 30])
def test_the_frame_at_a_time_is_the_one_that_a_player_shows_then(
    name: str, codec: str, gop: int, rate: int, tmp_path: Path
) -> None:
    images = [picture((40 + number, 120, 200 - number), mark=number // 7) for number in range(90)]
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = write_video(tmp_path / name, images, codec=codec, gop=gop, rate=rate, pixels=pixels)
    truth = all_frames(path)
    # Every time that a frame is given with finds that frame, whatever rounding made of it.
    for time_ms, frame in truth[::7] + truth[-1:]:
        got = np.asarray(read_frame(path, time_ms, target_side=48)).astype(int)
        assert np.abs(got - frame.to_ndarray(format="rgb24")).mean() < 2, time_ms
    # Between two frames it is the earlier one.
    later = truth[21][0] - 20 // (rate // 10)
    got = np.asarray(read_frame(path, later, target_side=48)).astype(int)
    assert np.abs(got - truth[20][1].to_ndarray(format="rgb24")).mean() < 2


def test_before_the_beginning_and_behind_the_end_it_is_the_first_and_the_last_frame(tmp_path: Path) -> None:
    for name, gop in (("a.mp4", 5), ("b.mp4", 600), ("a.mkv", 5)):
        path = write_video(tmp_path / name, THREE, gop=gop)
        assert np.abs(_colour(read_frame(path, -5, target_side=48)) - RED).max() < 12
        assert np.abs(_colour(read_frame(path, 10**7, target_side=48)) - BLUE).max() < 12


def test_one_frame_is_reached_by_seeking(tmp_path: Path, decoded: list[int]) -> None:
    path = write_video(tmp_path / "a.mp4", THREE * 10, gop=10)
    image = read_frame(path, 83_000, target_side=24)
    assert image.size == (32, 24)
    assert np.abs(_colour(image) - RED).max() < 12
    assert decoded[0] <= 12


def test_where_key_frames_lie_very_far_apart_a_frame_costs_no_more_than_a_bound(
    tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_WALK", 35)
    path = write_video(tmp_path / "a.mp4", THREE, codec="mpeg4", gop=600, options={"sc_threshold": "1000000000"})
    assert np.abs(_colour(read_frame(path, 8900, target_side=48)) - GREEN).max() < 12
    assert decoded[0] <= 37


def test_a_single_frame_is_upright_and_refused_where_there_is_none(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", THREE, rotation=(90, False, False))
    assert read_frame(path, 0, target_side=48).size == (48, 64)
    sound = write_sound(tmp_path / "a.m4a", tone(1, rate=48_000), rate=48_000)
    with pytest.raises(MediaError, match="no picture stream in it"):
        read_frame(sound, 0, target_side=48)
    with pytest.raises(ValueError, match="must be positive"):
        read_frame(path, 0, target_side=0)


def test_facts_are_read_as_a_phone_writes_them(tmp_path: Path) -> None:
    tags = {
        "com.apple.quicktime.creationdate": "2024-07-14T18:31:02+0200",
        "com.apple.quicktime.make": "Apple",
        "com.apple.quicktime.model": "iPhone 15",
        "com.apple.quicktime.location.ISO6709": "+48.8577-002.2950+035.1/",
    }
    path = write_video(tmp_path / "a.mov", THREE, tags=tags, muxer={"movflags": "+use_metadata_tags"})
    info = read_video_info(path)
    assert (info.width, info.height, info.duration_ms) == (64, 48, 9000)
    assert info.camera == "Apple iPhone 15"
    assert (info.latitude, info.longitude) == (48.8577, -2.295)
    assert info.taken_at is not None
    assert info.taken_at.isoformat() == "2024-07-14T18:31:02"


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "srt"), ("b.mkv", "ass"), ("a.mp4", "mov_text")])
def test_subtitles_inside_a_video_are_read_with_their_times(name: str, codec: str, tmp_path: Path) -> None:
    lines = [(500, 1500, b"A dog barks"), (2000, 2750, b"{\\i1}far\\Naway{\\i0}"), (4000, 5000, b"the end, at last")]
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        said = container.add_stream(codec)
        said.metadata["language"] = "eng"
        said.codec_context.subtitle_header = (
            b"[Script Info]\r\nScriptType: v4.00+\r\n\r\n[V4+ Styles]\r\nFormat: Name, Fontname, Fontsize\r\n"
            b"Style: Default,Arial,16\r\n\r\n[Events]\r\nFormat: Layer, Start, End, Style, Name, MarginL, MarginR, "
            b"MarginV, Effect, Text\r\n"
        )
        said.codec_context.time_base = Fraction(1, 1000)
        for number, (start, end, text) in enumerate(lines):
            event = str(number).encode() + b",0,Default,,0,0,0,," + text
            cue = av.subtitles.subtitle.SubtitleSet.create(event, 0, end - start, pts=start * 1000)
            packet = said.codec_context.encode_subtitle(cue)
            packet.stream, packet.pts, packet.dts, packet.duration = said, start, start, end - start
            packet.time_base = Fraction(1, 1000)
            container.mux(packet)
        for number, image in enumerate(THREE):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    got = list(read_subtitles(path))
    assert [(line.text, line.start_ms, line.end_ms) for line in got] == [
        ("A dog barks", 500, 1500),
        ("far\naway", 2000, 2750),
        ("the end, at last", 4000, 5000),
    ]
    assert {line.language for line in got} == {"eng"}


def test_a_video_without_subtitles_has_none(tmp_path: Path) -> None:
    assert list(read_subtitles(write_video(tmp_path / "a.mp4", THREE))) == []


def test_real_videos_give_frames_of_a_full_decode(shared_data: Path, decoded: list[int]) -> None:
    paths = [path for path in sorted((shared_data / "videos").iterdir()) if path.suffix in (".mp4", ".mkv", ".avi")]
    assert len(paths) == 5
    for path in paths:
        decoded[0] = 0
        frames = _read(path)
        cost = decoded[0]
        truth = dict(all_frames(path))
        assert 1 <= len(frames) <= 8
        if len(truth) > 360:
            assert cost < len(truth) / 4
        for frame in frames:
            stored = truth[frame.time_ms].to_image().resize(frame.image.size, Image.Resampling.BICUBIC)
            assert np.abs(np.asarray(stored, dtype=int) - np.asarray(frame.image)).mean() < 4


def test_scenes_between_two_key_frames_are_found_where_the_encoder_marked_no_cut(tmp_path: Path) -> None:
    images = [noise(number, block=8) for number in range(8) for _ in range(30)]  # 3 s each, a key frame every 12 s
    options = {"preset": "ultrafast", "x264-params": "scenecut=0"}
    path = write_video(tmp_path / "a.mp4", images * 2, gop=120, options=options)
    times = [frame.time_ms for frame in _read(path)]
    assert {time // 3000 for time in times} == set(range(16))
