from __future__ import annotations

import numpy as np

from mmsearch.protocols import VectorSource
from mmsearch.storage.catalog import Catalog
from mmsearch.storage.source import PORTION
from mmsearch.types import Root
from tests.storage.making import DIM, ENCODER, image_source, new_item


def _fill(catalog: Catalog, root: Root, count: int) -> list[int]:
    return list(catalog.write(items=[new_item(root.id, str(number), number) for number in range(count)]))


def test_batches_come_in_order_and_are_never_larger_than_asked_for(catalog: Catalog, root: Root) -> None:
    ids = _fill(catalog, root, 25)
    source: VectorSource = image_source(catalog)
    batches = list(source.read(batch_size=10))
    assert [len(found) for found, _ in batches] == [10, 10, 5]
    assert np.concatenate([found for found, _ in batches]).tolist() == ids
    assert all(vectors.shape == (len(found), DIM) and vectors.dtype == np.float32 for found, vectors in batches)
    assert [len(found) for found, _ in source.read(batch_size=25)] == [25]


def test_reading_goes_on_after_a_segment(catalog: Catalog, root: Root) -> None:
    ids = _fill(catalog, root, 12)
    source = image_source(catalog)
    ((found, vectors),) = source.read(ids[6])
    assert found.tolist() == ids[7:]
    np.testing.assert_array_equal(vectors, catalog.vectors(ENCODER, ids[7:])[1])
    assert list(source.read(ids[-1])) == []


def test_a_batch_is_put_together_from_portions(catalog: Catalog, root: Root) -> None:
    ids = _fill(catalog, root, PORTION + 10)
    ((found, vectors),) = image_source(catalog).read()
    assert found.tolist() == ids
    np.testing.assert_array_equal(vectors[PORTION - 1 :], catalog.vectors(ENCODER, ids[PORTION - 1 :])[1])


def test_batches_that_were_given_out_stay_as_they_were(catalog: Catalog, root: Root) -> None:
    _fill(catalog, root, 9)
    batches = list(image_source(catalog).read(batch_size=3))
    again = list(image_source(catalog).read(batch_size=3))
    for (ids, vectors), (ids_again, vectors_again) in zip(batches, again, strict=True):
        np.testing.assert_array_equal(ids, ids_again)
        np.testing.assert_array_equal(vectors, vectors_again)


def test_the_source_names_its_encoder(catalog: Catalog) -> None:
    source = image_source(catalog)
    assert (source.encoder_id, source.dim) == (ENCODER, DIM)
    assert list(source.read()) == []
    assert source.removed_since(0).shape == (0,)


def test_ids_may_be_asked_for_in_any_order_and_twice(catalog: Catalog, root: Root) -> None:
    ids = _fill(catalog, root, 5)
    found, _ = image_source(catalog).fetch(np.array([ids[3], ids[1], ids[3], 999]))
    assert found.tolist() == [ids[1], ids[3]]
