"""The terms of a query -> embeddings of one encoder; a file of any kind is read as it is for the index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.errors import MediaError, QueryError
from mmsearch.media import modality_of
from mmsearch.types import Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from indexer.prepared import PreparedSegment
    from mmsearch.protocols import Encoder
    from mmsearch.query.language import Term
    from mmsearch.storage.catalog import Catalog

__all__ = ["EmbeddedTerm", "TermEmbedder"]

# So many frames, windows or passages, spread over a file or from its beginning, say what it is about.
_FRAMES = 8
_WINDOWS = 8
_PASSAGES = 32


@dataclass(frozen=True, slots=True, eq=False)
class EmbeddedTerm:
    """A term in the space of an encoder.

    Attributes:
        embedding: (dim,) float32, L2-normalised.
        asked: What was embedded: a text, an image (or frames), or sound.
        weight: As the query has it.
        content: What was embedded, as the query has it.
        segment: Id of the segment where it is a photo of the library.
    """

    embedding: NDArray[np.float32]
    asked: Modality
    weight: float
    content: str | Path | bytes | Image.Image
    segment: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Embedded:
    """What was made of a term's content: see `EmbeddedTerm`."""

    embedding: NDArray[np.float32]
    asked: Modality
    segment: int | None = None


class TermEmbedder:
    """Embeds the terms of queries with one encoder.

    Args:
        catalog: Knows the embeddings of files that it holds.
        encoder: The encoder.
    """

    def __init__(self, catalog: Catalog, encoder: Encoder) -> None:
        self._catalog = catalog
        self._encoder = encoder

    def embed(self, terms: Sequence[Term]) -> tuple[EmbeddedTerm, ...]:
        """Embed the terms of a query, none of them where the encoder cannot take all that is looked for.

        A term to avoid that it cannot take is left out.

        Raises:
            QueryError: A file cannot be read.
            EncoderError: The encoder failed.
        """
        found: list[EmbeddedTerm] = []
        embedded: _Embedded | None
        words = [term.content for term in terms if isinstance(term.content, str)]
        takes_words = Modality.TEXT in self._encoder.modalities
        texts = iter(self._encoder.encode_texts(words) if words and takes_words else ())
        for term in terms:
            if isinstance(term.content, str):
                embedded = _Embedded(next(texts), Modality.TEXT) if takes_words else None
            else:
                embedded = self._embed_content(term.content)
            if embedded is not None:
                found.append(
                    EmbeddedTerm(embedded.embedding, embedded.asked, term.weight, term.content, embedded.segment)
                )
            elif term.weight > 0:
                return ()
        return tuple(found)

    def picture(self, content: str | Path | bytes | Image.Image) -> NDArray[Any] | None:
        """A term's picture as the image tower reads it; None for what is no single picture, or cannot be read."""
        from PIL import Image as PillowImage

        from mmsearch.media.image import read_image

        if isinstance(content, str):
            return None
        if isinstance(content, PillowImage.Image):
            return self._encoder.prepare_image(content.convert("RGB"))
        if isinstance(content, Path) and modality_of(content) is not Modality.IMAGE:
            return None
        try:
            return self._encoder.prepare_image(read_image(content, target_side=self._encoder.image_size).image)
        except MediaError:
            return None

    def _embed_content(self, content: Path | bytes | Image.Image) -> _Embedded | None:
        if isinstance(content, Path):
            return self._stored(content) or self._embed_file(content)
        if isinstance(content, bytes):
            return self._embed_bytes(content)
        if Modality.IMAGE not in self._encoder.modalities:
            return None
        picture = self._encoder.prepare_image(content.convert("RGB"))
        return _Embedded(np.asarray(self._encoder.encode_images([picture])[0]), Modality.IMAGE)

    def _embed_bytes(self, content: bytes) -> _Embedded | None:
        from mmsearch.media.formats import sniff

        if sniff(content[:64]) is not None:
            return self._embed_file(Path("the picture from standard input"), content, Modality.IMAGE)
        # Sounds and videos are decoded by seeking in a file.
        from tempfile import NamedTemporaryFile

        with NamedTemporaryFile(prefix="mmsearch-") as file:
            file.write(content)
            file.flush()
            try:
                return self._embed_file(Path(file.name), modality=Modality.VIDEO)
            except QueryError as error:
                raise QueryError(
                    "Standard input holds neither words nor a picture, sound or video that can be read.",
                    hint="For example: mmsearch query - < photo.jpg",
                ) from error

    def _embed_file(self, path: Path, data: bytes | None = None, modality: Modality | None = None) -> _Embedded | None:
        from indexer.embedding import embed
        from indexer.reader import SegmentReader

        reader = SegmentReader([self._encoder], captions=False, max_frames=_FRAMES, max_windows=_WINDOWS)
        kind = modality or modality_of(path) or Modality.TEXT
        if kind not in reader.modalities:
            return None
        try:
            segments = _main(reader.read(path, kind, data).segments)
        except MediaError as error:
            raise QueryError(f"Cannot search by {path}: {error.reason}.") from error
        rows = [row[self._encoder.id] for row in embed([self._encoder], segments)]
        return _Embedded(_mean(np.stack(rows)), _asked(segments[0].modality))

    def _stored(self, path: Path) -> _Embedded | None:
        """The embedding of a file that lies in the library unchanged, else None."""
        item = self._catalog.item_at(path)
        if item is None:
            return None
        try:
            stat = path.stat()
        except OSError:
            return None
        if (stat.st_size, stat.st_mtime_ns) != (item.size_bytes, item.mtime_ns):
            return None
        segments = self._catalog.segments_of(item.id)
        # The sound of a video for an encoder that only hears, or where there is no picture.
        for kind in (item.modality, Modality.AUDIO) if item.modality is Modality.VIDEO else (item.modality,):
            wanted = [segment.id for segment in segments if segment.modality is kind]
            _, vectors = self._catalog.vectors(self._encoder.id, wanted)
            if len(vectors):
                photo = wanted[0] if item.modality is Modality.IMAGE and len(wanted) == 1 else None
                return _Embedded(_mean(vectors), _asked(kind), photo)
        return None


def _main(segments: Iterable[PreparedSegment]) -> list[PreparedSegment]:
    """The first segments of one kind, which say what a file is: frames rather than the sound of a video."""
    _, first = next(groupby(segments, key=lambda segment: segment.modality))
    return list(islice(first, _PASSAGES))


def _asked(kind: Modality) -> Modality:
    return Modality.IMAGE if kind is Modality.VIDEO else kind


def _mean(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, dim) -> (dim,): the direction of their sum."""
    if len(rows) == 1:
        return np.asarray(rows[0])
    total = rows.sum(axis=0)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12), np.float32)
