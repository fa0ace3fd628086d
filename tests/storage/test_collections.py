from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmsearch.errors import EncoderError, EncoderMismatchError
from mmsearch.protocols import VectorSource
from mmsearch.storage.catalog import Catalog
from mmsearch.types import Collection, CollectionRecord, Modality, NewItem, NewSegment, Root, Watermark
from tests.storage.making import (
    DIM,
    ENCODER,
    OTHER,
    OTHER_DIM,
    OTHER_RECORD,
    RECORD,
    embedding,
    mixed_segment,
    new_item,
)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Catalog.open(tmp_path / "library", create=True) as opened:
        opened.register_encoders([RECORD, OTHER_RECORD])
        yield opened


def film(root: Root, path: str = "a.mp4", content: int = 1) -> NewItem:
    return NewItem(Modality.VIDEO, tuple(mixed_segment(content, ordinal) for ordinal in range(5)), root.id, path)


def test_a_collection_is_named_by_its_encoder_and_modality() -> None:
    assert Collection("mini", Modality.IMAGE).name == "mini"
    assert Collection("mini", Modality.AUDIO).name == "mini#audio"
    assert CollectionRecord("clap/x", Modality.TEXT, 3, 4).name == "clap/x#text"


def test_vectors_are_kept_apart_by_encoder_and_modality(catalog: Catalog, root: Root) -> None:
    image, both, passage, window, _ = catalog.write(items=[film(root)])
    assert catalog.collections() == (
        CollectionRecord(ENCODER, Modality.IMAGE, DIM, 1),
        CollectionRecord(ENCODER, Modality.TEXT, DIM, 2),
        CollectionRecord(OTHER, Modality.TEXT, OTHER_DIM, 1),
        CollectionRecord(OTHER, Modality.AUDIO, OTHER_DIM, 1),
    )
    read = {
        (record.encoder_id, record.modality): [
            id_
            for ids, vectors in catalog.vector_source(record.encoder_id, record.modality).read()
            for id_ in ids.tolist()
            if vectors.shape == (len(ids), record.dim)
        ]
        for record in catalog.collections()
    }
    assert read == {
        (ENCODER, Modality.IMAGE): [image],
        (ENCODER, Modality.TEXT): [both, passage],
        (OTHER, Modality.TEXT): [both],
        (OTHER, Modality.AUDIO): [window],
    }


def test_a_segment_may_have_vectors_of_some_encoders_or_of_none(catalog: Catalog, root: Root) -> None:
    ids = catalog.write(items=[film(root)])
    found, vectors = catalog.vectors(ENCODER, ids)
    assert found.tolist() == [ids[0], ids[1], ids[2]]
    np.testing.assert_allclose(vectors[1], embedding(101, DIM), atol=1e-3)
    found, vectors = catalog.vectors(OTHER, ids)
    assert found.tolist() == [ids[1], ids[3]]
    np.testing.assert_allclose(vectors[0], embedding(101, OTHER_DIM), atol=1e-3)
    assert catalog.match_text("word4", 5)[0].tolist() == [ids[4]]
    assert [segment.modality for segment in catalog.segments_of(1)] == ["image", "text", "text", "audio", "text"]


def test_vectors_of_an_encoder_without_any_are_none(catalog: Catalog, root: Root) -> None:
    ids = catalog.write(items=[new_item(root.id, "a", 1)])
    found, vectors = catalog.vectors(OTHER, ids)
    assert (found.shape, vectors.shape) == ((0,), (0, OTHER_DIM))


def test_a_source_of_a_collection_that_is_not_there_yet_is_empty_and_fills_later(catalog: Catalog, root: Root) -> None:
    source: VectorSource = catalog.vector_source(OTHER, Modality.AUDIO)
    assert (source.encoder_id, source.dim) == (f"{OTHER}#audio", OTHER_DIM)
    assert source.watermark() == Watermark(0, 0, 0)
    assert source.watermark().catalog == catalog.library_id
    assert list(source.read()) == []
    assert source.fetch(np.array([1]))[1].shape == (0, OTHER_DIM)
    assert source.removed_since(0).tolist() == []
    ids = catalog.write(items=[film(root)])
    assert source.watermark() == Watermark(ids[3], 0, 1)
    assert source.fetch(np.array(ids))[0].tolist() == [ids[3]]


def test_what_one_collection_loses_is_no_news_to_the_others(catalog: Catalog, root: Root) -> None:
    first = catalog.write(items=[film(root, "a.mp4", 1)])
    (passage,) = catalog.write(items=[NewItem(Modality.TEXT, (mixed_segment(2, 2),), root.id, "b.txt")])
    sources = {held.name: catalog.vector_source(held.encoder_id, held.modality) for held in catalog.collections()}
    before = {name: source.watermark() for name, source in sources.items()}
    catalog.write(removed=[catalog.item_of(passage) or 0])
    for name, source in sources.items():
        mark = source.watermark()
        assert (mark == before[name]) == (name != f"{ENCODER}#text")
        assert source.removed_since(0).tolist() == ([passage] if name == f"{ENCODER}#text" else [])
        assert mark.last_segment_id in first
    catalog.remove_root(root.id)
    removed = {name: source.removed_since(before[name].last_removal_id).tolist() for name, source in sources.items()}
    assert {name: sorted(ids) for name, ids in removed.items()} == {
        ENCODER: [first[0]],
        f"{ENCODER}#text": [first[1], first[2], passage],
        f"{OTHER}#text": [first[1]],
        f"{OTHER}#audio": [first[3]],
    }
    assert len({source.watermark().last_removal_id for source in sources.values()}) == 4


def test_an_empty_collection_is_not_listed(catalog: Catalog, root: Root) -> None:
    (segment,) = catalog.write(items=[new_item(root.id, "a", 1)])
    catalog.write(removed=[catalog.item_of(segment) or 0])
    assert catalog.collections() == ()
    assert catalog.vector_source(ENCODER, Modality.IMAGE).watermark() == Watermark(0, 1, 0)


def test_every_embedding_must_fit_its_encoder(catalog: Catalog, root: Root) -> None:
    swapped = NewSegment(Modality.TEXT, {ENCODER: embedding(1, DIM), OTHER: embedding(1, DIM)})
    with pytest.raises(EncoderError, match=rf"{OTHER} .*not of length {OTHER_DIM}"):
        catalog.write(items=[NewItem(Modality.TEXT, (swapped,), root.id, "a")])
    stranger = NewSegment(Modality.TEXT, {"third": embedding(1, DIM)})
    with pytest.raises(EncoderMismatchError, match=f"{ENCODER} and {OTHER}, not with third") as caught:
        catalog.write(items=[NewItem(Modality.TEXT, (stranger,), root.id, "a")])
    assert caught.value.hint == "Leave --model out to use them, or another folder with --library."
    assert catalog.collections() == ()
    assert catalog.status().items == {}


def test_the_status_tells_what_was_embedded(catalog: Catalog, root: Root) -> None:
    catalog.write(items=[film(root), new_item(root.id, "b", 1, segments=2)])
    status = catalog.status()
    assert status.encoders == (RECORD, OTHER_RECORD)
    assert status.items == {"image": 1, "video": 1}
    assert status.segments == 7
    assert status.segments_by_modality == {"audio": 1, "image": 3, "text": 2}
