"""The manifest of one encoder's index: which files belong to it and how far they go."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmsearch.types import Watermark
from mmsearch.vectors.arrays import FileStamp, atomic_write

__all__ = ["MANIFEST_NAME", "Manifest", "folder_name", "read_manifest", "write_manifest"]

MANIFEST_NAME = "manifest.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the files of one encoder's index hold.

    Attributes:
        encoder: Whose vectors they are.
        dim: Length of the vectors.
        kind: What the index is, such as ``flat`` or ``ivf4096,sq8``.
        asked: The kind that was asked for when it was made, ``auto`` when the rule chose.
        generation: Grows with every fold; part of the files' names.
        watermark: State of the catalog that the files answer for.
        index: The main file.
        tail: Vectors that came after the main file was made, or None.
        sample: A sample of the vectors for calibration, or None.
        indexed: Vectors in the main file, those included that the tail's file says were removed.
        effort: How much a search does: lists visited (nprobe) or nodes considered (efSearch); 0 where it does all.
        recall: recall@10 against exact search measured when `effort` was chosen, by kind of query.
        imbalance: How uneven the lists were when they were trained; 1 when all are of one size.
    """

    encoder: str
    dim: int
    kind: str
    asked: str
    generation: int
    watermark: Watermark
    index: FileStamp
    tail: FileStamp | None = None
    sample: FileStamp | None = None
    indexed: int = 0
    effort: int = 0
    recall: tuple[tuple[str, float], ...] = ()
    imbalance: float = 1.0

    @property
    def files(self) -> tuple[FileStamp, ...]:
        """All files that belong to it."""
        return tuple(stamp for stamp in (self.index, self.tail, self.sample) if stamp is not None)


def folder_name(encoder_id: str) -> str:
    """A file name for an encoder's id: readable, and different for different ids on any file system."""
    readable = re.sub(r"[^a-z0-9._-]+", "-", encoder_id.lower()).strip("-.")[:60]
    return f"{readable}-{hashlib.sha256(encoder_id.encode()).hexdigest()[:8]}"


def read_manifest(folder: Path, encoder_id: str, dim: int) -> Manifest | None:
    """Read the manifest in `folder`.

    Returns:
        None where there is none, or one that is damaged, of a newer format, or of another encoder: all of these mean
        that the index must be built again, which loses nothing.
    """
    try:
        data: dict[str, Any] = json.loads((folder / MANIFEST_NAME).read_bytes())
        if data.pop("format") != _FORMAT or data["encoder"] != encoder_id or data["dim"] != dim:
            return None
        for name in ("index", "tail", "sample"):
            if name == "index" or data[name] is not None:
                stamp = FileStamp(**data[name])
                if Path(stamp.name).name != stamp.name or type(stamp.size_bytes) is not int:
                    return None
                data[name] = stamp
        watermark = Watermark(**data.pop("watermark"))
        numbers = (watermark.last_segment_id, watermark.last_removal_id, watermark.count, data["generation"])
        if not all(type(number) is int for number in (*numbers, data["effort"], data["indexed"])):
            return None
        recall = tuple((str(name), float(value)) for name, value in data.pop("recall"))
        return Manifest(watermark=watermark, recall=recall, **data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put a manifest in the place of the former one, atomically.

    Raises:
        StorageError: It could not be written; the former one still holds.
    """
    with atomic_write(folder / MANIFEST_NAME) as file:
        file.write(json.dumps({"format": _FORMAT, **asdict(manifest)}, indent=1).encode())
