"""What is said of sounds, and pictures, go in; where the towers that stay put them comes out, for sounds to meet.

The text tower and the image tower of a model are fixed, so all of this is computed once.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmsearch.encoders.mini import MiniEncoder
from mmsearch.files import written
from mmsearch.training.captions import CaptionedImages
from mmsearch.training.datasets import read_photo
from mmsearch.training.features import ProgressCallback
from mmsearch.training.sound_data import SoundSet
from mmsearch.types import Progress

__all__ = ["SoundTargets", "find_targets"]

Rows = NDArray[np.float32]

_ALIKE = 0.55  # least cosine of two names' mean sentences, or of one and a caption, that mean about the same
_NEAR = 0.4  # least cosine of a name's mean sentence and of one that is no certain wrong answer to it
_PICTURES = 40  # of a name, at most
_OTHERS = 1000  # sentences and pictures of other things, at most
_AT_ONCE = 256


@dataclass(frozen=True, slots=True, eq=False)
class SoundTargets:
    """Embeddings of what n names stand for.

    Attributes:
        phrases: For each name (m, dim) of its sentences.
        means: (n, dim) their means, normalised.
        alike: (n, n) which names mean about the same, so that they are no wrong answers to each other.
        pictures: For each name (p, dim) of pictures of it, p may be 0.
        sentences: (k, dim) of captions of other pictures.
        near_sentences: (n, k) which of them are near to a name.
        views: (l, dim) of other pictures.
        near_views: (n, l) which of them are near to a name, going by their captions.
    """

    phrases: tuple[Rows, ...]
    means: Rows
    alike: NDArray[np.bool_]
    pictures: tuple[Rows, ...]
    sentences: Rows
    near_sentences: NDArray[np.bool_]
    views: Rows
    near_views: NDArray[np.bool_]


def find_targets(
    base: Path, sounds: SoundSet, work: Path, *, seed: int = 0, progress: ProgressCallback = None
) -> SoundTargets:
    """Embed sentences and pictures.

    The pictures of a name are those whose captions are nearest to its sentences: at most forty, and none below a cosine
    of 0.55. So a sound comes near to what it looks like without anyone having paired them.

    Args:
        base: The folder of the model whose text tower and image tower stay.
        sounds: Names with their sentences, and captioned pictures.
        work: Where the embeddings of captions are kept.
        seed: Of the choice of other sentences and pictures.
        progress: Called as captions and pictures are done.
    """
    encoder = MiniEncoder(models=base)
    flat = encoder.encode_texts([phrase for said in sounds.phrases for phrase in said])
    ends = np.cumsum([len(said) for said in sounds.phrases])
    phrases = tuple(np.split(flat, ends[:-1]))
    means = np.stack([_normalised(own.mean(0)) for own in phrases])
    alike = (means @ means.T >= _ALIKE) & ~np.eye(len(means), dtype=bool)
    photos = sounds.pictures
    captions = _captions(encoder, base, photos, work, progress)
    nearest = np.full((len(photos.images), len(means)), -1, np.float32)  # of each picture's captions
    for start in range(0, len(captions), 4096):
        part = slice(start, start + 4096)
        np.maximum.at(nearest, photos.owners[part], captions[part] @ means.T)
    best = [np.argsort(-column)[:_PICTURES] for column in nearest.T]
    chosen = [own[nearest[own, name] >= _ALIKE] for name, own in enumerate(best)]
    rng = np.random.default_rng((seed, 43))
    others = np.sort(rng.permutation(len(photos.images))[:_OTHERS])
    wanted = np.unique(np.concatenate([others, *chosen])).astype(np.int64)
    views = np.zeros((len(photos.images), encoder.dim), np.float32)
    views[wanted] = _pictures(encoder, [photos.images[i] for i in wanted], progress)
    said = np.sort(rng.permutation(len(captions))[:_OTHERS])
    return SoundTargets(
        phrases,
        means,
        alike,
        tuple(views[own] for own in chosen),
        captions[said],
        means @ captions[said].T >= _NEAR,
        views[others],
        nearest[others].T >= _NEAR,
    )


def _captions(
    encoder: MiniEncoder, base: Path, photos: CaptionedImages, work: Path, progress: ProgressCallback
) -> Rows:
    """(captions, dim), kept in a file, since there may be many."""
    if not photos.captions:
        return np.zeros((0, encoder.dim), np.float32)
    known = hashlib.sha256((base / "mini_text.safetensors").read_bytes())
    known.update("\n".join(photos.captions).encode("utf-8", "replace"))
    file = work / f"captions-{known.hexdigest()[:16]}.npy"
    if file.exists():
        return np.asarray(np.load(file))
    began, parts = time.monotonic(), []
    for start in range(0, len(photos.captions), _AT_ONCE):
        parts.append(encoder.encode_texts(photos.captions[start : start + _AT_ONCE]))
        _tell(progress, "read", start + len(parts[-1]), len(photos.captions), began)
    rows = np.concatenate(parts)
    with written(file) as stream:
        np.save(stream, rows)
    return rows


def _pictures(encoder: MiniEncoder, paths: list[Path], progress: ProgressCallback) -> Rows:
    began, parts = time.monotonic(), [np.zeros((0, encoder.dim), np.float32)]
    for start in range(0, len(paths), encoder.batch_size):
        some = paths[start : start + encoder.batch_size]
        parts.append(
            encoder.encode_images([encoder.prepare_image(read_photo(path, encoder.image_size)) for path in some])
        )
        _tell(progress, "look", start + len(some), len(paths), began)
    return np.concatenate(parts)


def _tell(progress: ProgressCallback, stage: Literal["read", "look"], done: int, total: int, began: float) -> None:
    if progress is not None:
        progress(Progress(stage, done, total, time.monotonic() - began))


def _normalised(row: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(row / max(1e-12, float(np.linalg.norm(row))), np.float32)
