from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer import loader as module
from indexer.changes import Candidate
from indexer.loader import Content, Loader, default_threads
from indexer.prepared import Reading
from indexer.reader import SegmentReader
from indexer.stream import Stream
from mmsearch.media.files import content_hash
from mmsearch.storage.catalog import Catalog
from mmsearch.types import EncoderRecord, Modality, NewItem, NewSegment, ScannedFile
from tests.indexer.shelf import CountingEncoder, picture, put


@pytest.fixture
def encoder() -> CountingEncoder:
    return CountingEncoder()


@pytest.fixture
def catalog(tmp_path: Path, encoder: CountingEncoder) -> Iterator[Catalog]:
    with Catalog.open(tmp_path / "library", create=True) as opened:
        opened.register_encoders([EncoderRecord(encoder.id, encoder.dim)])
        yield opened


@pytest.fixture
def loader(catalog: Catalog, encoder: CountingEncoder) -> Iterator[Loader]:
    made = Loader(catalog, SegmentReader([encoder]), threads=3, ahead=8)
    yield made
    made.close()


def _candidate(path: Path) -> Candidate:
    status = path.stat()
    return Candidate(1, ScannedFile(path.parent, path.name, status.st_size, status.st_mtime_ns, Modality.IMAGE))


def _decoded(content: Content) -> Reading | Stream | str | None:
    assert content.decoding is not None
    return content.decoding.result(timeout=10)


def test_contents_come_in_the_order_of_their_files(loader: Loader, photos: Path) -> None:
    paths = [put(photos / f"{number:02}.png", number) for number in range(50)]
    contents = list(loader.contents(map(_candidate, paths)))
    assert [content.candidate.file.path for content in contents] == [path.name for path in paths]
    assert [content.content_hash for content in contents] == [content_hash(path.read_bytes()) for path in paths]
    assert all(isinstance(_decoded(content), Reading) for content in contents)


def test_no_more_files_are_read_than_may_be_looked_ahead(loader: Loader, photos: Path) -> None:
    paths = [put(photos / f"{number:02}.png", number) for number in range(50)]
    asked: list[Path] = []

    def candidates() -> Iterator[Candidate]:
        for path in paths:
            asked.append(path)
            yield _candidate(path)

    contents = loader.contents(candidates())
    for taken in range(1, 20):
        next(contents)
        assert len(asked) <= taken + 8


def test_equal_content_is_decoded_once_whatever_thread_comes_first(
    loader: Loader, photos: Path, encoder: CountingEncoder
) -> None:
    paths = [put(photos / f"{number:02}.png", 7) for number in range(30)]
    contents = list(loader.contents(map(_candidate, paths)))
    assert encoder.prepared == 1
    assert len({id(_decoded(content)) for content in contents}) == 1


def test_what_the_catalog_has_is_not_decoded_unless_it_must_be(
    loader: Loader, photos: Path, encoder: CountingEncoder, catalog: Catalog
) -> None:
    path = put(photos / "a.png", 1)
    vector = encoder.encode_texts(["anything"])[0]
    segment = NewSegment(Modality.IMAGE, {encoder.id: vector})
    catalog.write(items=[NewItem(Modality.IMAGE, (segment,), key="a", content_hash=content_hash(picture(1)))])
    (content,) = loader.contents([_candidate(path)])
    assert (content.stored, content.decoding, encoder.prepared) == ((1,), None, 0)
    (hashed,) = loader.hashes([_candidate(path)])
    assert (hashed.stored, hashed.content_hash) == ((1,), content_hash(picture(1)))
    (content,) = loader.contents([_candidate(path)], always=True)
    assert isinstance(_decoded(content), Reading)


def test_released_content_is_looked_up_in_the_catalog(loader: Loader, photos: Path, encoder: CountingEncoder) -> None:
    path = put(photos / "a.png", 1)
    for _ in range(2):
        (content,) = loader.contents([_candidate(path)])
        assert content.content_hash is not None
        loader.release([content.content_hash])
    assert encoder.prepared == 2


def test_an_undecodable_file_gives_its_reason(loader: Loader, photos: Path) -> None:
    (content,) = loader.contents([_candidate(put(photos / "a.png", b"text"))])
    assert _decoded(content) == "not an image"


def test_a_file_that_cannot_be_read_gives_its_reason(
    loader: Loader, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, emptied = _candidate(put(photos / "gone.png", 1)), _candidate(put(photos / "emptied.png", 2))
    (photos / "gone.png").unlink()
    (photos / "emptied.png").write_bytes(b"")
    large = _candidate(put(photos / "large.png", 3))
    monkeypatch.setattr(module, "MAX_IMAGE_BYTES", 10)
    found = list(loader.contents([gone, emptied, large]))
    assert [content.reason for content in found] == ["vanished", "empty file", "larger than 0 GiB"]
    assert [content.vanished for content in found] == [True, False, False]


def test_a_file_too_large_to_hold_is_hashed_and_decoded_from_the_disk(
    loader: Loader, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_HELD_BYTES", {Modality.IMAGE: 10})
    (content,) = loader.contents([_candidate(put(photos / "a.png", 1))])
    assert content.content_hash == content_hash(picture(1))
    assert isinstance(_decoded(content), Reading)


def test_an_error_of_the_encoder_ends_the_loading(catalog: Catalog, photos: Path) -> None:
    class Broken(CountingEncoder):
        def prepare_image(self, image: object) -> object:  # type: ignore[override]
            raise RuntimeError("a bug")

    loader = Loader(catalog, SegmentReader([Broken()]), threads=2, ahead=4)
    paths = [put(photos / f"{number}.png", number) for number in range(10)]
    with pytest.raises(RuntimeError, match="a bug"):
        list(loader.contents(map(_candidate, paths)))
    loader.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("mmsearch-load")]


def test_there_is_a_thread_for_each_processor() -> None:
    assert 1 <= default_threads() <= 32
