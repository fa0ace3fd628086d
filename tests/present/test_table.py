from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mmsearch.present.table import size_text, span_text, table
from mmsearch.present.terminal import Terminal
from tests.present.samples import PIPE, SCREEN, hit


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


def test_places_in_sounds_and_passages_of_texts_are_shown(photo: Path) -> None:
    found = hit(photo, start_ms=72_000, end_ms=3_725_000, text="a  long\npassage " * 20)
    row, passage = "".join(table([found], PIPE)).splitlines()
    assert row.endswith("dog.png  1:12-1:02:05")
    assert passage.startswith("     a long passage") and passage.endswith("…")
    assert len(passage) <= 80


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


def test_spans_are_said_as_clock_times() -> None:
    assert span_text(None, None) == ""
    assert span_text(12_000, None) == "0:12"
    assert span_text(12_000, 17_900) == "0:12-0:17"
