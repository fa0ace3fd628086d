from __future__ import annotations

import os
import tempfile
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmsearch.errors import MediaError
from mmsearch.media import samples as module
from mmsearch.media.audio import AudioWindow, loudness, read_audio, read_sound_info
from tests.media.recordings import picture, tone, write_sound, write_video

RATE = 16_000


def _reason(path: Path) -> str:
    with pytest.raises(MediaError) as raised:
        list(read_audio(path))
    assert raised.value.path == path
    return raised.value.reason


def _whole(path: Path, rate: int = RATE) -> NDArray[np.float32]:
    """The truth: everything at once."""
    (window,) = read_audio(path, rate=rate, window_ms=10**8, skip_silence=False)
    return window.samples


def _amplitude_and_lag(window: AudioWindow, hertz: float) -> tuple[float, float]:
    """Of a sine that begins at 0 ms: how loud it is, and how many ms it is late."""
    time = np.arange(len(window.samples)) / RATE + window.start_ms / 1000
    value = (window.samples * np.exp(-2j * np.pi * hertz * time)).mean()
    return 2 * abs(value), -(float(np.angle(value)) + np.pi / 2) / (2 * np.pi * hertz) * 1000


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.opus", "a.m4a", "a.mka", "a.mkv"])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_every_format_gives_windows_at_their_exact_times(name: str, layout: str, tmp_path: Path) -> None:
    path = write_sound(tmp_path / name, tone(4.3, rate=48_000, hertz=200), rate=48_000, layout=layout)
    windows = list(read_audio(path, window_ms=1000, hop_ms=500))
    assert [window.start_ms for window in windows[:6]] == [0, 500, 1000, 1500, 2000, 2500]
    assert windows[-1].end_ms == pytest.approx(4300, abs=15)
    for window in windows[:-1]:
        amplitude, lag = _amplitude_and_lag(window, 200)
        assert window.samples.dtype == np.float32
        assert window.samples.shape == (RATE,)
        assert window.end_ms == window.start_ms + 1000
        assert amplitude == pytest.approx(0.5, abs=0.04)
        assert abs(lag) < 0.1


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 96_000])
def test_every_sample_rate_comes_out_at_the_wanted_one(rate: int, tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(2, rate=rate, hertz=300), rate=rate)
    (window,) = read_audio(path, window_ms=2000)
    assert len(window.samples) == 2 * RATE
    amplitude, lag = _amplitude_and_lag(window, 300)
    assert amplitude == pytest.approx(0.5, abs=0.01)
    assert abs(lag) < 0.05


def test_eight_channels_are_mixed_to_their_mean(tmp_path: Path) -> None:
    channels = np.stack([tone(1, rate=RATE, amplitude=number / 10) for number in range(8)])
    path = write_sound(tmp_path / "a.wav", channels, rate=RATE, layout="7.1")
    np.testing.assert_allclose(_whole(path), channels.mean(axis=0), atol=1e-4)


@pytest.mark.parametrize(("codec", "accuracy"), [("pcm_u8", 0.02), ("pcm_s24le", 1e-4), ("pcm_f32le", 1e-4)])
def test_every_sample_format_has_the_same_scale(codec: str, accuracy: float, tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(1, rate=RATE), rate=RATE, codec=codec)
    np.testing.assert_allclose(_whole(path), tone(1, rate=RATE), atol=accuracy)


@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 4000), window_ms=st.integers(20, 300), hop_ms=st.integers(20, 400))
def test_windows_are_the_right_slices_of_the_sound(length: int, window_ms: int, hop_ms: int) -> None:
    values = np.random.default_rng(0).integers(-20_000, 20_000, length, dtype=np.int16)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 2000, 0, "NONE", ""))
            file.writeframes(values.tobytes())
        windows = list(read_audio(path, rate=2000, window_ms=window_ms, hop_ms=hop_ms, skip_silence=False))
    sound = values.astype(np.float32) / 32768
    n, hop = window_ms * 2, hop_ms * 2
    starts = list(range(0, length - n + 1, hop))
    if not starts:
        starts = [0]
    elif length - (starts[-1] + n) >= 200:  # 100 ms
        starts.append(length - n)
    assert [window.start_ms for window in windows] == [round(start / 2) for start in starts]
    for window, start in zip(windows, starts, strict=True):
        np.testing.assert_allclose(window.samples, sound[start : start + n], atol=1e-6)


def test_a_sound_shorter_than_a_window_is_one_short_window(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.flac", tone(0.7, rate=RATE), rate=RATE)
    (window,) = read_audio(path)
    assert (len(window.samples), window.start_ms, window.end_ms) == (11_200, 0, 700)


def test_silence_is_skipped_and_a_click_in_it_is_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 1e-4, 10 * RATE).astype(np.float32) + 0.05  # a constant offset is silence, too
    sound[: 2 * RATE] += tone(2, rate=RATE)
    sound[7 * RATE + 1600 : 7 * RATE + 2400] += tone(0.05, rate=RATE, amplitude=0.3)
    path = write_sound(tmp_path / "a.flac", sound, rate=RATE)
    heard = [window.start_ms for window in read_audio(path, window_ms=1000, hop_ms=1000)]
    assert heard == [0, 1000, 7000]
    assert len(list(read_audio(path, window_ms=1000, hop_ms=1000, skip_silence=False))) == 10


def test_what_is_silent_is_measured_by_the_loudest_of_the_file(tmp_path: Path) -> None:
    quiet = tone(2, rate=RATE, amplitude=0.001)
    alone = write_sound(tmp_path / "alone.flac", quiet, rate=RATE)
    beside = write_sound(
        tmp_path / "beside.flac", np.concatenate([quiet, tone(2, rate=RATE, amplitude=0.9)]), rate=RATE
    )
    assert [window.start_ms for window in read_audio(alone, window_ms=1000, hop_ms=1000)] == [0, 1000]
    assert [window.start_ms for window in read_audio(beside, window_ms=1000, hop_ms=1000)] == [2000, 3000]


def test_a_silent_sound_gives_no_windows(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", np.zeros(RATE, dtype=np.float32), rate=RATE)
    assert list(read_audio(path)) == []


def test_loudness_is_that_of_the_loudest_tenth_of_a_second() -> None:
    sound = np.zeros(RATE, dtype=np.float32)
    sound[4800:6400] = tone(0.1, rate=RATE, amplitude=1.0)
    assert loudness(sound, RATE) == pytest.approx(2**-0.5, rel=1e-3)
    assert loudness(sound[:0], RATE) == 0.0


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.opus", "a.m4a", "a.aac", "a.mka"])
def test_a_long_sound_gives_windows_spread_evenly_by_seeking(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    time = np.arange(90 * RATE) / RATE
    sound = (0.4 * np.sin(2 * np.pi * (100 * time + 2 * time**2))).astype(np.float32)  # 100 Hz, and 4 more each second
    sound += rng.normal(0, 0.002, sound.size).astype(np.float32)
    path = write_sound(tmp_path / name, sound, rate=RATE if name != "a.opus" else 48_000 // 3)
    packets = 0
    decode = module.decode_packet

    def counted(*args: object) -> list[object]:
        nonlocal packets
        packets += 1
        return decode(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "decode_packet", counted)
    windows = list(read_audio(path, window_ms=1000, hop_ms=500, max_windows=6))
    sparse, packets = packets, 0
    truth = _whole(path)
    assert len(windows) == 6
    assert sparse < packets / 4
    assert windows[0].start_ms == 0
    assert windows[-1].end_ms == pytest.approx(90_000, abs=250)
    assert np.diff([window.start_ms for window in windows]) == pytest.approx(17_800, abs=150)
    for window in windows:
        assert len(window.samples) == RATE
        # Where in the full decode does this window lie? The sweep looks the same nowhere else.
        near = truth[max(0, window.start_ms * 16 - 4800) : window.end_ms * 16 + 4800]
        scores = np.correlate(near, window.samples[4000:12_000], mode="valid")
        lag = int(scores.argmax()) - 4000 - min(window.start_ms * 16, 4800)
        assert abs(lag) <= 16  # 1 ms


def test_one_window_of_many_is_the_first(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(5, rate=RATE), rate=RATE)
    assert [w.start_ms for w in read_audio(path, window_ms=1000, hop_ms=500, max_windows=1)] == [0]


def test_a_header_that_claims_hours_does_not_spread_the_windows_behind_the_end(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(10, rate=RATE), rate=RATE)
    data = bytearray(path.read_bytes())
    at = data.index(b"data")
    data[at + 4 : at + 8] = (RATE * 2 * 36_000).to_bytes(4, "little")
    path.write_bytes(data)
    windows = list(read_audio(path, window_ms=1000, hop_ms=1000, max_windows=5))
    assert [round(window.start_ms, -2) for window in windows] == [0, 2200, 4500, 6800, 9000]


def test_the_sound_of_a_video_is_on_the_clock_of_the_video(tmp_path: Path) -> None:
    images = [picture((90, 90, 90), mark=number) for number in range(30)]
    path = write_video(tmp_path / "a.mkv", images, sound=(1.5, tone(1, rate=RATE)))
    (window,) = read_audio(path, window_ms=5000)
    assert window.start_ms == pytest.approx(1500, abs=70)  # with the silence that the encoder puts first


def test_facts_and_tags_are_read_without_decoding(tmp_path: Path) -> None:
    tags = {"title": "A dog barks", "artist": "Rex", "album": "Kennel"}
    path = write_sound(tmp_path / "a.mp3", tone(2, rate=44_100), rate=44_100, layout="stereo", tags=tags)
    info = read_sound_info(path)
    assert (info.channels, info.sample_rate, info.duration_ms) == (2, 44_100, pytest.approx(2000, abs=60))
    assert (info.title, info.artist, info.album) == ("A dog barks", "Rex", "Kennel")


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".flac", ".ogg", ".m4a", ".mkv", ".avi"])
@pytest.mark.parametrize("content", ["nothing", "zeros", "noise", "text"])
def test_what_is_no_sound_is_refused_and_nothing_is_printed(
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
    assert _reason(tmp_path / "gone.wav") == "no such file"
    assert _reason(tmp_path) == "not a regular file"
    os.mkfifo(tmp_path / "pipe.wav")
    assert _reason(tmp_path / "pipe.wav") == "not a regular file"


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.opus", "a.mka"])
def test_a_truncated_sound_gives_what_is_left_of_it(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write_sound(tmp_path / name, tone(6, rate=48_000), rate=48_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    windows = list(read_audio(path, window_ms=1000, hop_ms=1000))
    assert [window.start_ms for window in windows][:2] == [0, 1000]
    assert windows[-1].end_ms < 4500
    assert capfd.readouterr() == ("", "")


def test_a_truncated_mp4_is_called_that(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.m4a", tone(2, rate=RATE), rate=RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert _reason(path) == "truncated or damaged MP4"


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_damaged_sound_is_read_or_refused(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        name = data.draw(st.sampled_from(["a.wav", "a.flac", "a.mp3", "a.opus", "a.m4a", "a.mka"]))
        path = write_sound(Path(folder) / name, tone(1, rate=RATE), rate=RATE)
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 20))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
        try:
            windows = list(read_audio(path, window_ms=200, hop_ms=200, max_windows=50))
        except MediaError as error:
            assert 0 < len(error.reason) < 60
        else:
            assert len(windows) <= 51
            assert all(np.isfinite(window.samples).all() for window in windows)


def test_a_playlist_in_disguise_opens_no_other_file(tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "real.ts", tone(1, rate=RATE), rate=RATE, codec="aac")
    playlist = tmp_path / "a.mp3"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{sound}\n#EXT-X-ENDLIST\n")
    assert _reason(playlist) == "not a sound or video"
    playlist.write_text(f"ffconcat version 1.0\nfile {sound}\n")
    assert _reason(playlist) == "not a sound or video"


def test_a_video_without_sound_is_refused(tmp_path: Path) -> None:
    assert _reason(write_video(tmp_path / "a.mp4", [picture((9, 9, 9))] * 5)) == "no sound in it"


def test_a_file_name_of_any_bytes_is_read(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(1, rate=RATE), rate=RATE)
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/http:a%d\xff\n.wav"))
    path.rename(strange)
    assert len(list(read_audio(strange))) == 1


def test_leaving_off_in_the_middle_closes_the_file(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(5, rate=RATE), rate=RATE)
    before = len(os.listdir("/dev/fd"))
    windows = read_audio(path, window_ms=100, hop_ms=100, skip_silence=False)
    next(windows)
    assert len(os.listdir("/dev/fd")) > before
    windows.close()  # type: ignore[attr-defined]
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize("wrong", [{"rate": 0}, {"window_ms": 0}, {"hop_ms": -1}, {"max_windows": 0}])
def test_sizes_that_make_no_sense_are_refused_at_once(wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="positive"):
        read_audio(tmp_path / "a.wav", **wrong)


def test_real_recordings_give_windows(shared_data: Path) -> None:
    clips = sorted((shared_data / "esc10").glob("*/*.ogg"))[::40]
    effects = sorted((shared_data / "stamps" / "sound").glob("*.ogg"))[::20]
    assert clips
    assert effects
    for path in clips + effects:
        windows = list(read_audio(path))
        length = read_sound_info(path).duration_ms or 0
        assert windows
        assert windows[-1].end_ms <= length + 30
