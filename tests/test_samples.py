"""The sample photographs: all documented, captioned, small and readable."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from PIL import Image

FREE = ("CC0 1.0", "CC BY 2.0", "CC BY 4.0", "public domain")


def photographs(samples: Path) -> dict[str, Path]:
    return {path.name: path for path in sorted(samples.glob("*.jpg"))}


def documented(samples: Path) -> dict[str, list[str]]:
    """The rows of the table in data/README.md: file name -> what it shows, author, package, licence."""
    lines = (samples.parent / "README.md").read_text(encoding="utf-8").splitlines()
    rows = [line.strip("|").split("|") for line in lines if re.match(r"\| `[^`]+\.jpg` \|", line)]
    return {row[0].strip().strip("`"): [cell.strip() for cell in row[1:]] for row in rows}


def captions(samples: Path) -> list[dict[str, str]]:
    with (samples / "captions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_there_are_between_16_and_30_photographs(samples: Path) -> None:
    assert 16 <= len(photographs(samples)) <= 30


def test_the_folder_holds_photographs_and_captions_only(samples: Path) -> None:
    assert {path.name for path in samples.iterdir()} == {*photographs(samples), "captions.csv"}


def test_every_photograph_is_documented_with_author_source_and_a_free_licence(samples: Path) -> None:
    table = documented(samples)
    assert table.keys() == photographs(samples).keys()
    for name, cells in table.items():
        shown, author, package, licence = cells
        assert all((shown, author, package)), name
        assert licence.startswith(FREE), f"{name}: {licence}"


def test_no_licence_is_share_alike_or_non_commercial(samples: Path) -> None:
    for name, cells in documented(samples).items():
        assert not re.search(r"\b(SA|NC|ND|GPL|GFDL)\b", cells[-1]), name


def test_every_photograph_has_one_or_two_captions_of_its_own(samples: Path) -> None:
    rows = captions(samples)
    assert {row["image"] for row in rows} == photographs(samples).keys()
    counts = [sum(row["image"] == name for row in rows) for name in photographs(samples)]
    assert set(counts) <= {1, 2}
    assert len({row["caption"] for row in rows}) == len(rows)
    assert all(len(row["caption"].split()) >= 2 for row in rows)


def test_every_photograph_opens_and_is_of_a_sane_size(samples: Path) -> None:
    for path in photographs(samples).values():
        with Image.open(path) as image:
            image.load()
            assert image.format == "JPEG", path.name
            assert min(image.size) >= 300 and max(image.size) <= 1024, path.name


def test_all_photographs_together_stay_below_three_megabytes(samples: Path) -> None:
    assert sum(path.stat().st_size for path in photographs(samples).values()) <= 3_000_000
