"""Manifests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsearch.types import Watermark
from mmsearch.vectors.arrays import FileStamp
from mmsearch.vectors.manifest import MANIFEST_NAME, Manifest, folder_name, read_manifest, write_manifest

MANIFEST = Manifest(
    "mini",
    256,
    "ivf64,sq8",
    "auto",
    7,
    Watermark(9, 2, 5),
    FileStamp("index-000007.arr", 10, 20),
    sample=FileStamp("sample-000007.arr", 1, 2),
    effort=12,
    indexed=5,
    recall=(("near", 0.98), ("far", 0.9)),
    imbalance=1.25,
)


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path, "mini", 256) == MANIFEST
    assert [stamp.name for stamp in MANIFEST.files] == ["index-000007.arr", "sample-000007.arr"]


def test_one_of_another_encoder_or_length_is_not_read(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path, "other", 256) is None
    assert read_manifest(tmp_path, "mini", 512) is None
    assert read_manifest(tmp_path / "nowhere", "mini", 256) is None


def test_one_of_a_newer_format_is_not_read(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    data = json.loads((tmp_path / MANIFEST_NAME).read_text())
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(data | {"format": data["format"] + 1}))
    assert read_manifest(tmp_path, "mini", 256) is None


@pytest.mark.parametrize(
    "change",
    [
        {"index": {"name": "../../etc/passwd", "size_bytes": 1, "crc32": 1}},
        {"index": {"name": "x"}},
        {"index": None},
        {"watermark": [1, 2, 3]},
        {"watermark": {"last_segment_id": "9", "last_removal_id": 0, "count": 1}},
        {"recall": 3},
        {"effort": None},
        {"unknown": 1},
    ],
)
def test_one_with_nonsense_in_it_is_not_read(change: dict[str, object], tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    data = json.loads((tmp_path / MANIFEST_NAME).read_text())
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(data | change))
    assert read_manifest(tmp_path, "mini", 256) is None


@settings(max_examples=50, deadline=None)
@given(content=st.binary(max_size=60) | st.sampled_from([b"[]", b"null", b"3", b"{}", b'{"format": 1}']))
def test_garbage_is_not_read(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("garbage")
    (folder / MANIFEST_NAME).write_bytes(content)
    assert read_manifest(folder, "mini", 256) is None


def test_folder_names_are_safe_and_differ_where_ids_do() -> None:
    ids = ["mini", "Mini", "open_clip/ViT-B-32/laion2b_s34b_b79k", "open_clip/ViT-B/32-laion2b_s34b_b79k", "../..", "é"]
    names = [folder_name(encoder) for encoder in ids]
    assert len({name.lower() for name in names}) == len(ids)
    assert all(Path(name).name == name and not name.startswith(".") and len(name) < 80 for name in names)
    assert names[2].startswith("open_clip-vit-b-32-laion2b_s34b_b79k-")
