"""The frozen values that pass between the modules; no tensors, rows or FAISS objects."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

__all__ = [
    "Collection",
    "CollectionRecord",
    "DuplicateGroup",
    "EncoderRecord",
    "Explanation",
    "Failure",
    "Hit",
    "IndexSummary",
    "Item",
    "KnownFile",
    "LibraryStatus",
    "MediaInfo",
    "Modality",
    "NewItem",
    "NewSegment",
    "PatchFormat",
    "Progress",
    "RerankCandidate",
    "RerankTerm",
    "Root",
    "ScannedFile",
    "Segment",
    "SegmentRecord",
    "SoundFormat",
    "Stage",
    "TokenFormat",
    "TokenSummary",
    "Watermark",
]

# What all segments of an item share.
_OF_ITEM = ("rank", "path", "modality", "item_id", "others", "key", "metadata", "duplicates", "group")
# What is told of a near-duplicate that is folded under a better hit.
_OF_DUPLICATE = ("path", "modality", "score", "relevance", "item_id", "segment_id", "key", "metadata")

Stage = Literal["vector", "fused", "rerank", "text", "filter"]


class Modality(StrEnum):
    """The kind of content an item holds."""

    IMAGE = "image"
    TEXT = "text"
    AUDIO = "audio"
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class SoundFormat:
    """How an audio tower wants sounds: mono windows that overlap.

    Attributes:
        rate: Samples a second, Hz.
        window_ms: Length of a window.
        hop_ms: From the start of one window to that of the next.
    """

    rate: int
    window_ms: int
    hop_ms: int


@dataclass(frozen=True, slots=True)
class PatchFormat:
    """What an image tower yields beside an embedding: features of each place of a grid over the picture.

    Attributes:
        rows, columns: Of the grid.
        width: Features of each place.
    """

    rows: int
    columns: int
    width: int

    @property
    def count(self) -> int:
        """Places of the grid."""
        return self.rows * self.columns


@dataclass(frozen=True, slots=True)
class TokenFormat:
    """What a reranker keeps of a picture: so many tokens of so many int8 numbers.

    Attributes:
        count: Tokens of a picture.
        dim: Numbers of a token, a byte each.
    """

    count: int
    dim: int


@dataclass(frozen=True, slots=True)
class Failure:
    """One file that was passed over, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class ScannedFile:
    """A file that a scan found below a root.

    Attributes:
        root: Absolute path of the indexed folder (or the folder of a file that was named itself).
        path: Path relative to the root, with ``/`` separators; undecodable bytes are surrogate-escaped.
        size_bytes: Size of the file.
        mtime_ns: Time of the last change, nanoseconds since the epoch.
        modality: What the file's name says it holds.
        sidecars: A number that changes with the files beside it that belong to it, below 2**63; 0 for none.
    """

    root: Path
    path: str
    size_bytes: int
    mtime_ns: int
    modality: Modality
    sidecars: int = 0

    @property
    def absolute(self) -> Path:
        """The absolute path of the file."""
        return self.root / self.path


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What people filter by, read from a file while it is decoded; None where the file does not say.

    Attributes:
        width: Pixels, as shown (after EXIF orientation).
        height: Pixels, as shown.
        taken_at: Local time at which a camera took it (EXIF DateTimeOriginal), without zone.
        camera: Make and model, the make not repeated.
        latitude: Degrees north, -90 to 90.
        longitude: Degrees east, -180 to 180.
        duration_ms: Length of a sound or video.
    """

    width: int | None = None
    height: int | None = None
    taken_at: datetime | None = None
    camera: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Root:
    """A folder that was indexed; its id is the catalog's."""

    id: int
    path: Path


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What the catalog remembers of a file below a root, for change detection.

    Attributes:
        item_id: The item, or None for a file that failed to decode and is remembered only to be passed over.
        size_bytes: Size when it was indexed.
        mtime_ns: Time of its last change when it was indexed; -1 where it is not stored as a whole yet.
        reason: Why it failed, or None.
        sidecars: The number of its sidecar files when it was indexed.
    """

    item_id: int | None
    size_bytes: int
    mtime_ns: int
    reason: str | None = None
    sidecars: int = 0


@dataclass(frozen=True, slots=True)
class NewSegment:
    """A segment to be stored, with its embeddings.

    Attributes:
        modality: What was embedded: an image, a passage (``text``), a window of a sound, or a frame (``video``).
        embeddings: Encoder ids -> (dim,) float32, L2-normalised; none of an encoder that cannot embed it.
        start_ms, end_ms: Place in a sound or video.
        start_char, end_char: Place in a text.
        text: The passage itself, for text; full-text search finds it, embedded or not.
        page: Page of a document, from 1.
        shot: Number of the shot that a frame is of, from 0.
    """

    modality: Modality
    embeddings: Mapping[str, NDArray[np.float32]]
    start_ms: int | None = None
    end_ms: int | None = None
    start_char: int | None = None
    end_char: int | None = None
    text: str | None = None
    page: int | None = None
    shot: int | None = None


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item to be stored with its segments; replaces the item at the same root and path, if any.

    Attributes:
        segments: All of them, or the first where it is not complete.
        root_id, path: Where the file lies (path relative to the root); both None for an item without a file.
        content_hash: 16 bytes that identify the file's content.
        sidecars: A number that changes with the files beside it that belong to it, below 2**63; 0 for none.
        complete: False where more segments follow in later batches; hash and time are not stored until all are there.
    """

    modality: Modality
    segments: tuple[NewSegment, ...]
    root_id: int | None = None
    path: str | None = None
    key: str | None = None
    size_bytes: int = 0
    mtime_ns: int = 0
    content_hash: bytes | None = None
    info: MediaInfo = MediaInfo()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    sidecars: int = 0
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Item:
    """One stored item: a file, or a thing that was added through the API.

    Attributes:
        path: Absolute path, or None for an item without a file.
    """

    id: int
    modality: Modality
    path: Path | None
    key: str | None
    size_bytes: int
    mtime_ns: int
    info: MediaInfo
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Segment:
    """One stored segment: the unit that is embedded; its modality says what of it was."""

    id: int
    item_id: int
    ordinal: int
    modality: Modality
    start_ms: int | None = None
    end_ms: int | None = None
    start_char: int | None = None
    end_char: int | None = None
    text: str | None = None
    page: int | None = None
    shot: int | None = None


@dataclass(frozen=True, slots=True)
class SegmentRecord:
    """A segment together with its item, as a query needs them."""

    segment: Segment
    item: Item


@dataclass(frozen=True, slots=True, eq=False)
class RerankTerm:
    """A term of a query, as a reranker reads it.

    Attributes:
        content: Words, or a picture.
        asked: What it is: a text, an image or a sound.
        embedding: (dim,) float32, L2-normalised, by the encoder whose shortlist is read.
        tokens: (count, dim) int8 of its picture, where the reranker keeps tokens.
        pictures: (n, dim) embeddings of some of the library's pictures, or frames: what it holds.
    """

    content: str | Path | bytes | Image.Image
    asked: Modality
    embedding: NDArray[np.float32]
    tokens: NDArray[np.int8] | None = None
    pictures: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RerankCandidate:
    """A segment of a shortlist, as a reranker reads it.

    Attributes:
        record: The segment with its item.
        embedding: (dim,) float32, L2-normalised.
        prior: Log-odds that it matches the term by the dual encoder alone.
        tokens: (count, dim) int8 of its picture or frame, where they are stored.
    """

    record: SegmentRecord
    embedding: NDArray[np.float32]
    prior: float
    tokens: NDArray[np.int8] | None = None


@dataclass(frozen=True, slots=True)
class EncoderRecord:
    """An encoder whose vectors a library holds."""

    id: str
    dim: int


@dataclass(frozen=True, slots=True)
class Collection:
    """The vectors that one encoder gave the segments of one modality; they share an index."""

    encoder_id: str
    modality: Modality

    @property
    def name(self) -> str:
        """Its name: the encoder's id for images, which were first, and one that begins with it for the others."""
        return self.encoder_id if self.modality is Modality.IMAGE else f"{self.encoder_id}#{self.modality}"


@dataclass(frozen=True, slots=True)
class CollectionRecord:
    """A collection as a library holds it: the length of its vectors, and how many there are."""

    encoder_id: str
    modality: Modality
    dim: int
    count: int

    @property
    def name(self) -> str:
        """See `Collection.name`."""
        return Collection(self.encoder_id, self.modality).name


@dataclass(frozen=True, slots=True)
class Watermark:
    """How far a catalog has got; equal watermarks of one catalog mean equal sets of vectors.

    Attributes:
        last_segment_id: Highest segment id in the collection, 0 when it is empty.
        last_removal_id: Highest id of the collection in the log of removed vectors, 0 when there is none.
        count: Number of vectors in the collection.
        catalog: Which catalog this is of; a library that was made anew at the same place has another.
    """

    last_segment_id: int
    last_removal_id: int
    count: int
    catalog: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Hit:
    """One result of a search: an item, and the segment of it that matches best.

    Attributes:
        rank: 1 for the best item.
        score: The raw number of the stage that ranked it; higher is better, comparable within one query only.
        relevance: Calibrated probability, 0 to 1, that it matches.
        stage: Which stage ranked it.
        modality: Kind of the item.
        path: Absolute path, or None for an item without a file.
        start_ms, end_ms: Where in a sound or video; frames of one shot that match are one hit from the first to the
            last of them.
        text: The passage, caption or subtitle that matches.
        start_char, end_char: Where in a text, in characters of its decoded text.
        page: Of a document with pages, from 1.
        matched: Kind of the segment: ``text`` for a photo found by its caption, ``audio`` for a video found by its
            sound track.
        others: Further good segments of the same item, best first, with the item's rank; they have no others.
        retrieval_score: Where a reranker ranked it, the score of the stage before.
        key: Of an item that was added through the API.
        metadata: The same.
        duplicates: Less good hits that are near-duplicates of this one, folded under it, with its rank.
        group: The name of the group that it stands in, where hits were grouped.
    """

    rank: int
    score: float
    relevance: float
    stage: Stage
    item_id: int
    segment_id: int
    modality: Modality
    path: Path | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    text: str | None = None
    start_char: int | None = None
    end_char: int | None = None
    page: int | None = None
    matched: Modality | None = None
    others: tuple[Hit, ...] = ()
    retrieval_score: float | None = None
    key: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    duplicates: tuple[Hit, ...] = ()
    group: str | None = None

    def unfolded(self) -> tuple[Hit, ...]:
        """The hit and its other segments as hits of their own, best first."""
        return (dataclasses.replace(self, others=(), duplicates=()), *self.others)

    def to_dict(self) -> dict[str, Any]:
        """The hit as plain JSON values, in the stable order that scripts rely on."""
        return {
            "rank": self.rank,
            "path": None if self.path is None else os.fspath(self.path),
            "modality": str(self.modality),
            **self._place(),
            "item_id": self.item_id,
            "segment_id": self.segment_id,
            "start_char": self.start_char,
            "end_char": self.end_char,
            "page": self.page,
            "matched": str(self.matched or self.modality),
            "retrieval_score": None if self.retrieval_score is None else round(self.retrieval_score, 6),
            "others": [other._as_other() for other in self.others],
            "key": self.key,
            "metadata": dict(self.metadata),
            "duplicates": [copy._as_duplicate() for copy in self.duplicates],
            "group": self.group,
        }

    def _place(self) -> dict[str, Any]:
        return {
            "score": round(self.score, 6),
            "relevance": round(self.relevance, 4),
            "stage": self.stage,
            "start_ms": self.start_ms,
            "end_ms": self.end_ms,
            "text": self.text,
        }

    def _as_other(self) -> dict[str, Any]:
        whole = self.to_dict()
        return {name: whole[name] for name in whole if name not in _OF_ITEM}

    def _as_duplicate(self) -> dict[str, Any]:
        whole = self.to_dict()
        return {name: whole[name] for name in _OF_DUPLICATE}


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Items that show the same picture, or whose files are the same.

    Attributes:
        items: Two or more; the best of them, by pixels and then by bytes, is the first.
        cosines: How close each is to the first, by its embedding; 1 for the first.
        same_content: Whether the file of each is that of the first, byte by byte.
    """

    items: tuple[Item, ...]
    cosines: tuple[float, ...]
    same_content: tuple[bool, ...]

    @property
    def spare_bytes(self) -> int:
        """What the files of all but the first take."""
        return sum(item.size_bytes for item in self.items[1:])

    def to_dict(self) -> dict[str, Any]:
        """The group as plain JSON values, in a stable order."""
        return {
            "spare_bytes": self.spare_bytes,
            "items": [
                {
                    "path": None if item.path is None else os.fspath(item.path),
                    "modality": str(item.modality),
                    "size_bytes": item.size_bytes,
                    "width": item.info.width,
                    "height": item.info.height,
                    "similarity": round(cosine, 4),
                    "same_content": same,
                    "item_id": item.id,
                    "key": item.key,
                }
                for item, cosine, same in zip(self.items, self.cosines, self.same_content, strict=True)
            ],
        }


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Where the words of a query look in a picture, and how likely the two match.

    Attributes:
        query: The whole sentence.
        encoder, reranker: Ids of what read it.
        words: Those w that are read by themselves, in order and as they were typed; articles and the like are not.
        weights: (w,) how much each counts in the sentence, summing to 1.
        maps: (w, rows, columns) the share of its attention that each word gives to each place, summing to 1.
        view: Left, top, right and bottom of what the maps cover, in shares of the picture's width and height; a model
            that crops the picture covers less than all of it, one that pads it covers more.
        similarity: Cosine of the dual encoder's two embeddings.
        retrieval_relevance: Calibrated probability, 0 to 1, that they match, by the dual encoder alone.
        relevance: The same by the reranker, which knows that of the dual encoder too.
    """

    query: str
    encoder: str
    reranker: str
    words: tuple[str, ...]
    weights: tuple[float, ...]
    maps: NDArray[np.float32]
    view: tuple[float, float, float, float]
    similarity: float
    retrieval_relevance: float
    relevance: float

    @property
    def peaks(self) -> tuple[float, ...]:
        """How many times more than its even share of a word's attention the place gets that it looks at most."""
        places = self.maps.shape[1] * self.maps.shape[2]
        return tuple(float(own.max()) * places for own in self.maps)

    def to_dict(self) -> dict[str, Any]:
        """The explanation as plain JSON values, in a stable order."""
        return {
            "query": self.query,
            "encoder": self.encoder,
            "reranker": self.reranker,
            "words": list(self.words),
            "weights": [round(weight, 6) for weight in self.weights],
            "maps": [[[round(share, 6) for share in row] for row in own] for own in self.maps.tolist()],
            "view": [round(end, 6) for end in self.view],
            "verdict": {
                "relevance": round(self.relevance, 4),
                "retrieval_relevance": round(self.retrieval_relevance, 4),
                "similarity": round(self.similarity, 6),
            },
        }


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long run has got.

    Attributes:
        stage: ``scan``, ``tokens``, ``embed`` or ``save`` while indexing; ``look``, ``read`` or ``train`` while
            training.
        done: Files, texts or steps finished in this stage.
        total: Those in this stage, or None while it is not known.
        elapsed_s: Seconds since the stage began.
        note: What else there is to say, such as the loss.
    """

    stage: Literal["scan", "tokens", "embed", "save", "look", "read", "train"]
    done: int
    total: int | None
    elapsed_s: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class IndexSummary:
    """What an indexing run did.

    Attributes:
        new, changed, moved, copied, removed, unchanged: Numbers of files.
        kept: Files of roots that are missing or empty, kept on purpose.
        skipped: Files passed over, with reasons.
        embedded: Segments that went through an encoder.
        embedded_by: The same by what was embedded: modality of the segments -> how many.
        stage_seconds: Seconds per stage (``scan``, ``decode``, ``encode``, ``store``, ``index``; and ``tokens`` where
            some were made for a reranker), busy time.
        elapsed_s: Wall time of the run.
        interrupted: True where the run was ended by Ctrl-C and everything so far was saved.
        notices: Sentences to show the user, such as a root that is not mounted.
    """

    new: int = 0
    changed: int = 0
    moved: int = 0
    copied: int = 0
    removed: int = 0
    unchanged: int = 0
    kept: int = 0
    skipped: tuple[Failure, ...] = ()
    embedded: int = 0
    embedded_by: Mapping[str, int] = field(default_factory=dict)
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    elapsed_s: float = 0.0
    interrupted: bool = False
    notices: tuple[str, ...] = ()

    @property
    def segments_per_second(self) -> float:
        """Embedded segments a second of wall time; 0 where nothing was embedded."""
        return self.embedded / self.elapsed_s if self.elapsed_s > 0 else 0.0


@dataclass(frozen=True, slots=True)
class TokenSummary:
    """What making tokens of pictures that are indexed already did.

    Attributes:
        made: Pictures and frames that have new tokens.
        missing: Files that are not there.
        changed: Files that are not as they were when they were indexed.
        skipped: Files that could not be read.
        elapsed_s: Wall time.
        interrupted: It was ended by Ctrl-C, with everything so far stored.
    """

    made: int = 0
    missing: int = 0
    changed: int = 0
    skipped: tuple[Failure, ...] = ()
    elapsed_s: float = 0.0
    interrupted: bool = False


@dataclass(frozen=True, slots=True)
class LibraryStatus:
    """What a library holds.

    Attributes:
        path: The library's folder.
        version: Version of its schema.
        items: Numbers of items by modality.
        failures: Files that are remembered as unreadable.
        encoders: Encoders with their dimensions.
        indexes: One mapping for each vector index: encoder, kind, vectors, pending, size_bytes.
        roots: The folders, each with its number of items and whether it is there now.
        catalog_bytes: Size of the SQLite files.
        segments_by_modality: Numbers of embedded segments by what was embedded.
        tokens: One mapping for each collection of pictures that has tokens, or could: encoder, modality, reranker (for
            which they were made, or None), rows, size_bytes, and lacking, the segments that have none for the reranker
            that there is.
    """

    path: Path
    version: int
    items: Mapping[str, int]
    segments: int
    failures: int
    encoders: tuple[EncoderRecord, ...]
    indexes: tuple[Mapping[str, Any], ...]
    roots: tuple[Mapping[str, Any], ...]
    catalog_bytes: int
    segments_by_modality: Mapping[str, int] = field(default_factory=dict)
    tokens: tuple[Mapping[str, Any], ...] = ()
