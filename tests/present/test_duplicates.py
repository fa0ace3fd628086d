from __future__ import annotations

from pathlib import Path

from mmsearch.present.duplicates import blocks, summary
from mmsearch.types import DuplicateGroup, Item, MediaInfo, Modality


def item(id_: int, name: str | None, size_bytes: int, width: int | None = None) -> Item:
    path = None if name is None else Path("/photos") / name
    info = MediaInfo(width=width, height=None if width is None else width // 2)
    return Item(id_, Modality.IMAGE, path, None, size_bytes, 1_700_000_000 * 10**9, info, {})


GROUP = DuplicateGroup(
    (item(1, "a.jpg", 3_000_000, 4000), item(2, "b\n.jpg", 1_000_000, 2000), item(3, None, 0)),
    (1.0, 0.9999, 0.951),
    (True, False, False),
)
COPIES = DuplicateGroup((item(4, "c.txt", 10), item(5, "d.txt", 10)), (1.0, 1.0), (True, True))


def test_each_group_is_a_block_with_what_tells_its_items_apart() -> None:
    lines = "".join(blocks([GROUP, COPIES], base=Path("/photos"))).splitlines()
    assert lines[0] == "1  3 alike, 1.0 MB without the first"
    assert lines[1].split() == ["3.0", "MB", "4000", "x", "2000", "2023-11-14", "a.jpg"]
    assert lines[2].split() == ["1.0", "MB", "2000", "x", "1000", "2023-11-14", "99.9", "%", "b\\n.jpg"]
    assert lines[3].split() == ["0", "B", "95.1", "%", "item", "3"]
    assert lines[4:6] == ["", "2  2 alike, 10 B without the first"]
    assert lines[7].split()[-3:] == ["same", "file", "d.txt"]


def test_what_all_groups_come_to_is_told() -> None:
    assert summary([GROUP, COPIES]) == "2 groups: 3 of the items could go, and 1.0 MB with them."
    assert summary([COPIES]) == "1 group: 1 of the items could go, and 10 B with them."
