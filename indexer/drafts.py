"""One item as its owner gives it -> a checked draft: its vectors, what identifies its content, and how to read it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from indexer.contents import BadItemError, audio_bytes, image_bytes, read_picture, read_sound
from indexer.prepared import PreparedSegment
from mmsearch.errors import MediaError
from mmsearch.item_data import ItemData
from mmsearch.media.files import HASH_BYTES
from mmsearch.types import EncoderRecord, MediaInfo, Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from indexer.reader import SegmentReader

__all__ = ["Draft", "draft_of", "item_of"]

_NAMES = frozenset(field.name for field in fields(ItemData))


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """An item that may be added.

    Attributes:
        item: As it was given, with metadata as a plain dictionary.
        modality: Its kind.
        vectors: Ready-made embeddings by encoder, L2-normalised.
        content_hash: 16 bytes that identify image, text, sound and vectors.
    """

    item: ItemData
    modality: Modality
    vectors: Mapping[str, NDArray[np.float32]]
    content_hash: bytes

    @property
    def is_text(self) -> bool:
        """Whether the vectors are those of its text, which is not embedded again then."""
        return bool(self.vectors) and self.modality is Modality.TEXT

    def read(self, reader: SegmentReader) -> tuple[MediaInfo, list[PreparedSegment]]:
        """Decode what there is to embed, and lay it out for the towers; safe to call from many threads.

        Raises:
            BadItemError: It cannot be read, or no model of the library takes it.
        """
        item, info, segments = self.item, MediaInfo(), list[PreparedSegment]()
        try:
            if item.image is not None:
                _check_taken(Modality.IMAGE, reader)
                info, segments = read_picture(item.image, reader)
            if item.audio is not None:
                _check_taken(Modality.AUDIO, reader)
                reading_info, heard = read_sound(item.audio, reader)
                info = replace(info, duration_ms=reading_info.duration_ms)
                segments += heard
        except MediaError as error:
            raise BadItemError(error.reason) from error
        if item.text is not None and not self.is_text:
            if not self.vectors and not segments:
                _check_taken(Modality.TEXT, reader)
            passages = list(reader.passages(item.text))
            if not passages and not segments and not self.vectors:
                raise BadItemError("no text in it")
            segments += passages
        given = {name: getattr(item, name) for name in ("taken_at", "latitude", "longitude")}
        return replace(info, **{name: value for name, value in given.items() if value is not None}), segments


def item_of(given: Any) -> ItemData:
    """An `ItemData`, or a mapping with its fields, as an `ItemData`.

    Raises:
        BadItemError: It is neither, or has a field that there is not.
    """
    if isinstance(given, ItemData):
        return given
    if not isinstance(given, Mapping):
        raise BadItemError(f"an item is an ItemData or a mapping, not {type(given).__name__}")
    unknown = [str(name) for name in given if name not in _NAMES]
    if unknown:
        raise BadItemError(f"there is no field {', '.join(unknown)}")
    if "key" not in given:
        raise BadItemError("it has no key")
    return ItemData(**given)


def draft_of(item: ItemData, encoders: Sequence[EncoderRecord]) -> Draft:
    """Check an item; nothing is decoded yet but what memory holds.

    Args:
        item: What is to be added.
        encoders: Those of the library.

    Raises:
        BadItemError: Something in it is wrong.
    """
    _check_key(item.key)
    metadata = _plain(item.metadata)
    _check_place(item)
    if item.text is not None and not isinstance(item.text, str):
        raise BadItemError(f"the text is a {type(item.text).__name__}, not a str")
    vectors = {} if item.vector is None else _vectors(item.vector, encoders)
    if item.image is None and item.text is None and item.audio is None and not vectors:
        raise BadItemError("it has no image, text, audio or vector")
    if vectors and (item.image is not None or item.audio is not None):
        raise BadItemError("an image or a sound is embedded here: give either that or a vector")
    try:
        digest = _hash(item, vectors)
    except MediaError as error:
        raise BadItemError(error.reason) from error
    except (OSError, ValueError, TypeError) as error:
        raise BadItemError(str(error) or type(error).__name__) from error
    return Draft(replace(item, metadata=metadata), _modality(item, bool(vectors)), vectors, digest)


def _check_key(key: object) -> None:
    if not isinstance(key, str) or not key:
        raise BadItemError("its key is not a text" if key else "its key is empty")
    try:
        key.encode()
    except UnicodeEncodeError:
        raise BadItemError("its key holds half a character") from None
    if "\0" in key:
        raise BadItemError("its key holds a zero character")


def _plain(metadata: object) -> dict[str, Any]:
    if not isinstance(metadata, Mapping):
        raise BadItemError("its metadata is not a mapping")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(metadata), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise BadItemError(f"its metadata is nothing that JSON can hold ({error})") from None
    return plain


def _check_place(item: ItemData) -> None:
    if item.taken_at is not None and (not isinstance(item.taken_at, datetime) or item.taken_at.tzinfo is not None):
        raise BadItemError("taken_at is not a datetime without zone")
    if (item.latitude is None) != (item.longitude is None):
        raise BadItemError("a place needs both latitude and longitude")
    for name, value, most in (("latitude", item.latitude, 90), ("longitude", item.longitude, 180)):
        if value is not None and not -most <= value <= most:
            raise BadItemError(f"its {name} is not between -{most} and {most}")


def _modality(item: ItemData, has_vector: bool) -> Modality:
    held = [
        modality
        for modality, content in (
            (Modality.IMAGE, item.image),
            (Modality.AUDIO, item.audio),
            (Modality.TEXT, item.text),
        )
        if content is not None
    ]
    if item.modality is None:
        return Modality.IMAGE if has_vector else held[0]
    try:
        asked = Modality(str(item.modality))
    except ValueError:
        raise BadItemError(f"there is no modality {str(item.modality)!r}") from None
    if not has_vector and asked not in held:
        raise BadItemError(f"it is said to be of the kind {asked}, but holds {' and '.join(held)}")
    return asked


def _vectors(given: Any, encoders: Sequence[EncoderRecord]) -> dict[str, NDArray[np.float32]]:
    known = {record.id: record.dim for record in encoders}
    if not isinstance(given, Mapping):
        if len(known) != 1:
            raise BadItemError(f"the library has several models, so say which the vector is of: {', '.join(known)}")
        given = {next(iter(known)): given}
    if not given:
        raise BadItemError("there is no vector in it")
    found = {}
    for encoder_id, vector in given.items():
        if encoder_id not in known:
            raise BadItemError(f"the library has no model {encoder_id!r}, but {', '.join(known)}")
        found[encoder_id] = unit_vector(vector, known[encoder_id])
    return found


def unit_vector(given: Any, dim: int) -> NDArray[np.float32]:
    """A vector of NumPy, torch or plain numbers as (dim,) float32, L2-normalised.

    Raises:
        BadItemError: It is of another shape, not of real and finite numbers, or has no direction.
    """
    if hasattr(given, "detach"):  # a tensor of torch, on whatever device and of whatever precision
        given = given.detach().cpu()
        given = (given.float() if given.is_floating_point() else given).numpy()
    try:
        vector = np.asarray(given)
    except (ValueError, TypeError):
        raise BadItemError("the vector is no array of numbers") from None
    if vector.dtype.kind not in "fiu":
        raise BadItemError("the vector does not hold real numbers")
    if vector.shape != (dim,):
        raise BadItemError(f"the vector has the shape {vector.shape}, not ({dim},)")
    wide = vector.astype(np.float64)
    if not np.isfinite(wide).all():
        raise BadItemError("the vector holds NaN or infinity")
    largest = np.abs(wide).max()
    if largest == 0:
        raise BadItemError("the vector is zero, so it has no direction")
    wide /= largest
    return np.asarray(wide / np.linalg.norm(wide), np.float32)


def _hash(item: ItemData, vectors: Mapping[str, NDArray[np.float32]]) -> bytes:
    digest = blake2b(digest_size=HASH_BYTES, person=b"mmsearch-item")

    def put(name: str, *parts: bytes) -> None:
        for part in (name.encode(), *parts):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)

    if item.image is not None:
        put("image", *image_bytes(item.image))
    if item.audio is not None:
        put("audio", *audio_bytes(item.audio))
    if item.text is not None:
        put("text", item.text.encode("utf-8", "surrogatepass"))
    for encoder_id, vector in sorted(vectors.items()):
        put("vector", encoder_id.encode(), vector.tobytes())
    put("modality", str(_modality(item, bool(vectors))).encode())
    return digest.digest()


def _check_taken(modality: Modality, reader: SegmentReader) -> None:
    if modality not in reader.modalities:
        raise BadItemError(f"no model of this library takes {modality}")
