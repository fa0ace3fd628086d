"""Things without files, as they are added to a library: their content, facts and metadata as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mmsearch.types import Modality

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["AddSummary", "ItemData", "ItemFailure"]


@dataclass(frozen=True, slots=True, eq=False)
class ItemData:
    """One thing to add: a product, a post, a track; with an image, a text, a sound or a vector, or several of these.

    An image or sound beside a text is one item that both find, as a photo is found by its caption.

    >>> ItemData("shoe-42", text="red running shoe", metadata={"brand": "Acme"}).key
    'shoe-42'

    Attributes:
        key: Its name, by which it is found, replaced and removed; one of a kind in a library.
        image: A Pillow image, an array (height, width) or (height, width, 3 or 4) of uint8, the bytes of an image file,
            or its path.
        text: Of any length; it is split into passages as a file is.
        audio: Samples and their rate in Hz, or the path of a sound file. Samples are (n,) or (n, channels), floating
            point with full scale at -1 and 1, or integers of their type's full scale.
        vector: An embedding that was made elsewhere, NumPy or torch, of any real type and length (L2 norm); or several
            by the ids of the encoders that they are of, which a library of several models needs.
        modality: What a vector is of; of an image where nothing says so. The kind of content, where there is content.
        metadata: What JSON can hold; search gives it back, and `Filters.metadata` finds it.
        taken_at: Local time, without zone.
        latitude, longitude: Degrees north and east.
    """

    key: str
    image: Image.Image | NDArray[Any] | bytes | str | os.PathLike[str] | None = None
    text: str | None = None
    audio: tuple[NDArray[Any], int] | str | os.PathLike[str] | None = None
    vector: Any | Mapping[str, Any] | None = None
    modality: Modality | str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    taken_at: datetime | None = None
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True, slots=True)
class ItemFailure:
    """One item that was not added, and why.

    Attributes:
        key: Its key; None where it has none.
        reason: A few words.
    """

    key: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class AddSummary:
    """What adding items did.

    Attributes:
        new: Items whose key was not there.
        changed: Items that took the place of others with their key.
        unchanged: Items that were there already, equal in all.
        failed: Items that were not added, with reasons.
        embedded: Segments that went through an encoder.
        elapsed_s: Wall time.
        interrupted: It was ended by Ctrl-C, with everything up to the last whole batch stored.
    """

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    failed: tuple[ItemFailure, ...] = ()
    embedded: int = 0
    elapsed_s: float = 0.0
    interrupted: bool = False
