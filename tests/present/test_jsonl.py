from __future__ import annotations

import json
import os
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmsearch.present.jsonl import json_line, json_lines
from mmsearch.types import Modality
from tests.present.samples import hit


def test_a_hit_is_written_in_the_form_that_scripts_rely_on() -> None:
    assert json_line(hit(Path("/abs/path.jpg")).to_dict()) == (
        '{"rank": 1, "path": "/abs/path.jpg", "modality": "image", "score": 0.31, "relevance": 0.93, "stage": "vector",'
        ' "start_ms": null, "end_ms": null, "text": null, "item_id": 12, "segment_id": 34, "start_char": null,'
        ' "end_char": null, "page": null, "matched": "image", "retrieval_score": null,'
        ' "others": [], "key": null, "metadata": {}, "duplicates": [], "group": null}'
    )


def test_other_segments_are_written_inside_their_item_or_each_as_a_line() -> None:
    other = hit(
        Path("/a.mp4"), modality=Modality.VIDEO, matched=Modality.AUDIO, start_ms=5000, end_ms=10_000, relevance=0.5
    )
    found = hit(Path("/a.mp4"), modality=Modality.VIDEO, matched=Modality.VIDEO, start_ms=12_000, others=(other,))
    (folded,) = json.loads(json_line(found.to_dict()))["others"]
    assert folded == {
        "score": 0.31, "relevance": 0.5, "stage": "vector", "start_ms": 5000, "end_ms": 10_000, "text": None,
        "segment_id": 34, "start_char": None, "end_char": None, "page": None, "matched": "audio",
        "retrieval_score": None,
    }  # fmt: skip
    rows = [json.loads(line) for line in json_lines(one.to_dict() for one in found.unfolded())]
    assert [(row["rank"], row["matched"], row["others"]) for row in rows] == [(1, "video", []), (1, "audio", [])]
    assert {key: rows[1][key] for key in folded} == folded


@given(st.binary(min_size=1))
def test_every_file_name_survives_on_one_line_of_ascii(name: bytes) -> None:
    line = json_line({"path": os.fsdecode(name)})
    assert line.isascii()
    assert "\n" not in line
    assert os.fsencode(json.loads(line)["path"]) == name


def test_paths_and_read_only_mappings_are_plain_values() -> None:
    row = {"path": Path("/a"), "items": MappingProxyType({"image": 1})}
    assert list(json_lines([row])) == ['{"path": "/a", "items": {"image": 1}}']


def test_what_has_no_json_form_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        json_line({"value": object()})
