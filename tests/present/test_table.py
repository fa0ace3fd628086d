from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mmsearch.present.table import size_text, table
from mmsearch.present.terminal import Terminal
from mmsearch.types import Hit
from tests.media.recordings import BLUE, RED, shots, tone, write_sound, write_video
from tests.present.samples import AUDIO, PIPE, SCREEN, TEXT, VIDEO, hit


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "dog.png"
    Image.new("RGB", (60, 40), "brown").save(path)
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path


def shown(text: str) -> str:
    """What is left on the screen, roughly: the text without escape sequences."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]|\x1b[78]|\x1b_.*?\x1b\\", "", text)


def test_elsewhere_than_on_a_terminal_a_row_is_plain_and_there_is_one_a_hit(photo: Path) -> None:
    text = "".join(table([hit(photo), hit(photo, rank=2, relevance=0.071)], PIPE))
    size = f"{photo.stat().st_size} B"
    assert text == f"  1   93 % {size:>8}  2023-11-14  {photo}\n  2    7 % {size:>8}  2023-11-14  {photo}\n"


def test_on_a_terminal_there_are_a_heading_a_bar_and_colours(photo: Path) -> None:
    text = "".join(table([hit(photo)], SCREEN, base=photo.parent))
    heading, row = text.splitlines()
    assert "relevance" in heading
    assert "\x1b[32m█████████▎  93 %" in row
    assert row.endswith("  dog.png")


def test_no_colour_means_no_escape_sequence_at_all(photo: Path) -> None:
    text = "".join(table([hit(photo)], replace(SCREEN, colour=False)))
    assert "\x1b" not in text
    assert "█" in text


def test_without_unicode_bars_are_drawn_in_ascii(photo: Path) -> None:
    text = "".join(table([hit(photo)], replace(SCREEN, unicode=False)))
    assert "#########   93 %" in text


def test_a_file_that_is_gone_is_marked(tmp_path: Path) -> None:
    assert "missing" in "".join(table([hit(tmp_path / "gone.jpg")], PIPE))
    blocks = replace(SCREEN, graphics="blocks")
    assert "missing" in "".join(table([hit(tmp_path / "gone.jpg")], blocks))


def test_certainty_is_never_claimed(photo: Path) -> None:
    assert " 99 %" in "".join(table([hit(photo, relevance=1.0)], PIPE))
    assert "  0 %" in "".join(table([hit(photo, relevance=0.0)], PIPE))


def test_odd_names_are_escaped_and_never_break_a_row(tmp_path: Path) -> None:
    name = tmp_path / os.fsdecode(b"a\nb\xff\x1b[31m.jpg")
    text = "".join(table([hit(name)], PIPE))
    assert text.endswith("a\\nb\\xff\\x1b[31m.jpg\n")
    assert text.count("\n") == 1


def rows(*hits: Hit, columns: int = 80) -> list[str]:
    return "".join(table(hits, replace(PIPE, columns=columns))).splitlines()


def test_a_hit_in_a_sound_or_video_has_its_time(photo: Path) -> None:
    assert rows(hit(photo, modality=AUDIO, start_ms=72_000, end_ms=3_725_000))[0].endswith("dog.png  1:12-1:02:05")
    assert rows(hit(photo, modality=VIDEO, start_ms=12_000, end_ms=12_400))[0].endswith("dog.png  0:12")
    heard = hit(photo, modality=VIDEO, matched=AUDIO, start_ms=10_000, end_ms=15_000)
    assert rows(heard)[0].endswith("dog.png  sound 0:10-0:15")


def test_a_hit_in_a_text_has_its_page_and_the_beginning_of_its_passage_on_one_line(photo: Path) -> None:
    row, passage = rows(hit(photo, modality=TEXT, text="a  long\npassage " * 20, page=3))
    assert row.endswith("dog.png  page 3")
    assert passage.startswith("     a long passage") and passage.endswith(" passage…")
    assert 60 < len(passage) <= 80


def test_words_that_are_no_passage_say_what_they_are(photo: Path) -> None:
    assert rows(hit(photo, matched=TEXT, text="two dogs"))[1] == "     caption: two dogs"
    row, passage = rows(hit(photo, modality=VIDEO, matched=TEXT, text="Woof!", start_ms=2000, end_ms=4000))
    assert row.endswith("dog.png  0:02-0:04")
    assert passage == "     subtitle: Woof!"


def test_other_places_of_an_item_are_one_line_under_it(photo: Path) -> None:
    others = tuple(hit(photo, modality=VIDEO, start_ms=ms) for ms in (65_000, 40_000))
    _, line = rows(hit(photo, modality=VIDEO, start_ms=12_000, others=others))
    assert line == "     also at 0:40, 1:05"
    text = "".join(table([hit(photo, modality=VIDEO, start_ms=12_000, others=others)], SCREEN))
    assert "     \x1b[2malso at 0:40, 1:05\x1b[0m\n" in text


def test_kinds_are_told_where_there_are_several(photo: Path) -> None:
    alone = rows(hit(photo), hit(photo, rank=2))
    assert not any("image" in row for row in alone)
    mixed = rows(hit(photo), hit(photo, rank=2, modality=AUDIO))
    assert [row.split()[3] for row in mixed] == ["image", "audio"]
    assert mixed[0].index("2023-11-14") == mixed[1].index("2023-11-14")
    heading, *_ = "".join(table([hit(photo), hit(photo, modality=TEXT)], replace(SCREEN, colour=False))).splitlines()
    assert heading.split() == ["#", "relevance", "type", "size", "changed", "path"]


def test_a_text_has_no_picture_but_room_for_its_passage(photo: Path) -> None:
    terminal = replace(SCREEN, graphics="blocks", columns=60)
    found = [hit(photo), hit(photo, rank=2, modality=TEXT, text="many words of a note " * 20)]
    text = "".join(table(found, terminal, base=photo.parent))
    picture, note = text.split("\n\n")[:2]
    assert "▀" in picture and "▀" not in note
    lines = [line.strip() for line in shown(note).split("\n")]
    assert lines[0].endswith("2  dog.png") and lines[2].startswith("text  ")
    assert len(lines) == 6 and lines[5].endswith("…")
    assert all(len(line) <= 37 for line in lines)


def test_videos_and_sounds_beside_their_pictures_say_how_long_they_are(tmp_path: Path) -> None:
    frames = write_video(tmp_path / "a.mp4", shots((RED, 2), (BLUE, 3)))
    sound = write_sound(tmp_path / "a.wav", tone(75, rate=8000), rate=8000)
    found = [hit(frames, modality=VIDEO, start_ms=3000), hit(sound, rank=2, modality=AUDIO, start_ms=0, end_ms=5000)]
    text = "".join(table(found, replace(SCREEN, graphics="blocks"), base=tmp_path))
    first, second = text.split("\n\n")[:2]
    assert "1  a.mp4  0:03" in first and "video  64 × 48  0:05" in first
    assert "2  a.wav  0:00-0:05" in second and "audio  1:15" in second
    assert "▀" in first and "▀" in second


def test_an_item_without_a_file_goes_by_its_number() -> None:
    assert "item 12" in "".join(table([hit(None)], PIPE))


def test_half_blocks_stand_beside_the_facts(photo: Path) -> None:
    terminal = replace(SCREEN, graphics="blocks")
    text = "".join(table([hit(photo)], terminal, base=photo.parent))
    lines = text.split("\n")
    assert "▀" in lines[0] and shown(lines[0]).endswith("1  dog.png")
    assert "93 %" in shown(lines[1])
    assert "60 × 40" in shown(lines[2]) and "2023-11-14" in shown(lines[2])


def test_a_graphic_is_drawn_where_room_was_made_for_it(photo: Path) -> None:
    terminal = replace(SCREEN, graphics="kitty")
    text = "".join(table([hit(photo)], terminal, base=photo.parent))
    assert text.startswith("\n" * 6 + "\x1b[6A\x1b7\x1b_G")
    assert "\x1b\\\x1b8" in text
    assert text.count("\n") == 6 + 6 + 1


def test_a_long_path_is_wrapped_beside_the_picture_without_losing_a_character(photo: Path) -> None:
    path = photo.with_name("犬" * 30 + "x" * 120 + ".png")
    path.write_bytes(photo.read_bytes())
    terminal = replace(SCREEN, graphics="blocks")
    text = "".join(table([hit(path)], terminal, base=photo.parent))
    facts = re.findall(r"\x1b\[22C\x1b\[1m(.*?)\x1b\[0m", text)
    assert "".join(facts) == f"1  {path.name}"
    assert len(facts) > 2


@pytest.mark.parametrize("terminal", [replace(SCREEN, graphics="kitty", columns=30), replace(SCREEN, graphics=None)])
def test_there_are_no_pictures_where_there_is_no_room_or_no_way(photo: Path, terminal: Terminal) -> None:
    assert "relevance" in "".join(table([hit(photo)], terminal))


def test_previews_can_be_turned_off(photo: Path) -> None:
    terminal = replace(SCREEN, graphics="kitty")
    assert "\x1b_G" not in "".join(table([hit(photo)], terminal, previews=False))


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (99_400, "99.4 kB"), (250_000, "250 kB"), (999_600, "1.0 MB"),
     (3_400_000_000, "3.4 GB"), (5_000_000_000_000, "5.0 TB")],
)  # fmt: skip
def test_sizes_are_said_in_powers_of_a_thousand(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text


def test_groups_have_headings_and_near_duplicates_are_named(photo: Path) -> None:
    copies = tuple(hit(photo.parent / f"{name}.png") for name in "ab")
    hits = [
        hit(photo, group=str(photo.parent), duplicates=copies),
        hit(photo, rank=3, group=str(photo.parent)),
        hit(photo, rank=2, group="2023-05"),
    ]
    lines = "".join(table(hits, PIPE)).splitlines()
    assert lines[0] == str(photo.parent)
    assert lines[2].strip() == "and 2 near-duplicates: a.png, b.png"
    assert lines[4:6] == ["", "2023-05"]
    blocks = "".join(table(hits, replace(SCREEN, graphics="blocks")))
    assert "2023-05" in blocks and "near-duplicates: a.png" in blocks
