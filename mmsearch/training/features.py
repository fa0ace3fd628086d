"""Photos and sentences go in, what the frozen networks make of them comes out, kept in files for the next run.

Photos go through the network as it ships, in integers: the heads learn from the features that they will be given.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmsearch.training.datasets import photo_view, read_photo
from mmsearch.training.text_tower import SentenceTransformer

__all__ = ["calibration_photos", "photo_features", "sentence_features", "tokenise", "wait_while"]

logger = logging.getLogger(__name__)

PHOTOS_AT_ONCE = 32
SENTENCES_AT_ONCE = 128


def wait_while(path: Path | None) -> None:
    """Hold still as long as a file is there, so that a long training can be put aside for a while."""
    while path is not None and path.exists():
        time.sleep(1)


def calibration_photos(photos: Sequence[Path], side: int, count: int = 160) -> NDArray[np.uint8]:
    """Photos, evenly spread over a sequence, that show the ranges of the activations."""
    chosen = photos[:: max(1, len(photos) // count)][:count]
    return np.stack([photo_view(read_photo(path), side, 0, (0,)) for path in chosen])


def photo_features(
    graph: Path,
    photos: Sequence[Path],
    side: int,
    views: int,
    folder: Path,
    *,
    seed: int = 0,
    pause: Path | None = None,
) -> list[NDArray[np.float16]]:
    """Features of every view of every photo.

    Args:
        graph: The backbone as it ships, in integers (`export.export_image_tower`).
        photos: Files; a file keeps its place.
        side: Side of the graph's input.
        views: How many views of each; see `datasets.photo_view`.
        folder: Where features are kept and found again.
        seed: Of the crops.
        pause: A file that makes it wait as long as it is there.

    Returns:
        One array (n, w) for each view.
    """
    import onnxruntime

    files = [folder / f"photos_{view}.npy" for view in range(views)]
    session = None
    for view, kept in enumerate(files):
        if kept.exists():
            continue
        session = session or onnxruntime.InferenceSession(os.fspath(graph), providers=["CPUExecutionProvider"])
        parts = []
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            for start in range(0, len(photos), PHOTOS_AT_ONCE):
                wait_while(pause)
                chosen = range(start, min(len(photos), start + PHOTOS_AT_ONCE))
                images = threads.map(
                    lambda i, view=view: photo_view(read_photo(photos[i]), side, view, (seed, i)), chosen
                )
                parts.append(session.run(None, {"images": np.stack(list(images))})[0].astype(np.float16))
        np.save(kept, np.concatenate(parts))
        logger.info("looked at %d photos, view %d", len(photos), view)
    return [np.load(kept) for kept in files]


def tokenise(tokenizer: Path, texts: Sequence[str], limit: int) -> list[list[int]]:
    """Token ids of texts, cut at `limit`."""
    from tokenizers import Tokenizer

    tool = Tokenizer.from_file(os.fspath(tokenizer))
    tool.no_padding()
    tool.enable_truncation(limit)
    return [encoding.ids for encoding in tool.encode_batch(list(texts))]


def padded(tokens: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids (n, t) with zeros after the end, and where tokens stand (n, t)."""
    longest = max(len(ids) for ids in tokens)
    ids = torch.zeros(len(tokens), longest, dtype=torch.long)
    mask = torch.zeros(len(tokens), longest, dtype=torch.bool)
    for row, sentence in enumerate(tokens):
        ids[row, : len(sentence)] = torch.tensor(sentence)
        mask[row, : len(sentence)] = True
    return ids, mask


@torch.inference_mode()
def sentence_features(
    model: SentenceTransformer, tokens: Sequence[Sequence[int]], kept: Path | None = None, pause: Path | None = None
) -> NDArray[np.float32]:
    """Mean of the last layer over the tokens of each sentence.

    Args:
        model: The transformer.
        tokens: Ids of each sentence.
        kept: A file where the features are kept and found again.
        pause: A file that makes it wait as long as it is there.

    Returns:
        (n, width).
    """
    if kept is not None and kept.exists():
        return np.asarray(np.load(kept), np.float32)
    features = np.empty((len(tokens), model.width), np.float32)
    order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
    for start in range(0, len(order), SENTENCES_AT_ONCE):
        wait_while(pause)
        chosen = order[start : start + SENTENCES_AT_ONCE]
        features[chosen] = model(*padded([tokens[i] for i in chosen])).numpy()
    if kept is not None:
        np.save(kept, features)
    return features
