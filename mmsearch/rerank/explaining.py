"""A sentence, a picture, an encoder and its reranker go in; where each word looks, and the verdict, come out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mmsearch.encoders.image_transform import ImageTransform
from mmsearch.encoders.mini import MODELS
from mmsearch.encoders.prepared import PreparedEncoder
from mmsearch.encoders.wordpiece import WordPiece
from mmsearch.errors import EncoderError, MediaError, QueryError, UsageError
from mmsearch.media.image import read_image
from mmsearch.query.calibration import calibration_for
from mmsearch.query.relevance import answer_to, probability, relevance_for, reread_for
from mmsearch.rerank.fusion import FusionReranker
from mmsearch.types import (
    Explanation,
    Item,
    MediaInfo,
    Modality,
    RerankCandidate,
    RerankTerm,
    Segment,
    SegmentRecord,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import Encoder, Reranker
    from mmsearch.query.language import Query

    Array = NDArray[np.float32]

__all__ = ["explain", "picture_of", "sentence_of"]

_EXAMPLE = 'For example: mmsearch explain "a dog on the beach" photo.jpg -o why.png'
# More than any word has, which is cut nowhere.
_MOST_PIECES = 1 << 16
# As long as a search's is where nothing else is asked for.
_SHORTLIST = 100
# How far a reranker of which nothing is known can change log-odds.
_MOST_CHANGE = 4.0
_SAME = 0.999  # cosine from which a picture of the library is the one that is looked at
_AROUND_WORDS = ".,;:!?\"'()[]{}“”„‘’«»…¿¡"


def sentence_of(query: Query) -> str:
    """The words of a query that is nothing but words.

    Raises:
        QueryError: It is composed of several terms, or holds a file.
    """
    (content, *others) = (term.content for term in query.terms)
    if others or not isinstance(content, str):
        raise QueryError("Only words can be explained, one sentence at a time.", hint=_EXAMPLE)
    return content


def picture_of(picture: str | os.PathLike[str] | Image.Image, side: int) -> Image.Image:
    """A picture, upright and RGB, whose shorter side is not much longer than `side` if it need not be.

    Raises:
        QueryError: There is no such file, or it is no picture.
    """
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    path = Path(picture)
    try:
        return read_image(path, target_side=side).image
    except MediaError as error:
        if not path.exists():
            raise QueryError(f"There is no file {path}.", hint=_EXAMPLE) from error
        raise QueryError(f"Cannot look at {path}: {error.reason}.", hint=_EXAMPLE) from error


def explain(
    sentence: str,
    picture: str | os.PathLike[str] | Image.Image,
    encoder: Encoder,
    reranker: Reranker | None,
    sample: Array | None = None,
) -> Explanation:
    """Tell where the words of a sentence look in a picture.

    A word's map is the mean of its cross-attention over heads and layers. Where a word is read in several pieces, its
    map is their mean, weighted by how much each counts, and it counts as much as they do together: so shares stay
    shares.

    Args:
        sentence: Words.
        picture: A file, or a picture in memory.
        encoder: The dual encoder.
        reranker: That reads what it sees; None is an error.
        sample: (n, dim) embeddings of a library's pictures, by which this one is judged as a search does it; what is
            usual when None.

    Raises:
        QueryError: There are no words that are read by themselves, or the picture cannot be read.
        UsageError: There is no reranker, or none whose words look at places.
        EncoderError: The encoder or the reranker failed.
    """
    network = _looking(reranker, encoder)
    sentence = " ".join(sentence.split())
    if not sentence:
        raise QueryError("The query is empty.", hint=_EXAMPLE)
    image = picture_of(picture, encoder.image_size)
    embeddings, patches = encoder.encode_images_with_patches([encoder.prepare_image(image)])
    tokens = network.compress(patches)[0]
    pieces, looks = network.looks(tokens, sentence)
    words, owners = _typed(sentence, pieces)
    if not words:
        raise QueryError(f"No word of {sentence!r} is looked for by itself.", hint=_EXAMPLE)
    weights, maps = _merged(looks.weights, looks.attention.mean(axis=(0, 1)), owners)

    asked, own = encoder.encode_texts([sentence])[0], embeddings[0]
    similarity = np.asarray(embeddings[:1] @ asked)
    calibration = calibration_for(encoder.id, Modality.TEXT, Modality.IMAGE)
    others = np.zeros((0, len(asked)), np.float32) if sample is None else sample
    near = np.asarray(others @ asked)
    background = calibration.background(near)
    prior = float(calibration.log_odds(similarity, background)[0])
    # As in a search that has found the library's pictures, and this one.
    found = np.concatenate([similarity, near[others @ own < _SAME]])
    pair = encoder.id, Modality.TEXT, Modality.IMAGE
    answer = answer_to(*pair, found, background, len(others), sentence)
    chance = relevance_for(*pair).log_odds(similarity, answer)
    # A reranker judges a picture beside the others of its shortlist. Of those it asks only what they are near to, so
    # they can do with the tokens at hand.
    shortlist = [RerankCandidate(_NO_RECORD, vector, prior, tokens) for vector in (own, *_beside(own, asked, others))]
    odds = network.log_odds(RerankTerm(sentence, Modality.TEXT, asked, pictures=sample), shortlist)
    if odds is None or not np.isfinite(odds[0]):
        raise EncoderError(f"The reranker {network.id} did not read the picture.")
    # The logits of others are not known: it is judged as the best of its shortlist.
    fitted = reread_for(network.id, Modality.TEXT, Modality.IMAGE)
    if fitted is None:
        reread = chance + np.clip(odds[:1] - prior, -_MOST_CHANGE, _MOST_CHANGE)
    else:
        reread = fitted.log_odds(odds[:1], answer.reread(odds[:1]))
    return Explanation(
        query=sentence,
        encoder=encoder.id,
        reranker=network.id,
        words=words,
        weights=tuple(weights.tolist()),
        maps=maps.reshape(len(words), *network.settings.wanted),
        view=_view(encoder, image.size),
        similarity=float(similarity[0]),
        retrieval_relevance=float(probability(chance)[0]),
        relevance=float(probability(reread)[0]),
    )


_NO_RECORD = SegmentRecord(Segment(0, 0, 0, Modality.IMAGE), Item(0, Modality.IMAGE, None, None, 0, 0, MediaInfo(), {}))


def _looking(reranker: Reranker | None, encoder: Encoder) -> FusionReranker:
    """The reranker, if it is one whose words look at places.

    Raises:
        UsageError: It is not, or there is none.
    """
    if reranker is None:
        raise UsageError(
            f"There is no reranker for the model {encoder.id}.", hint="Train one: mmsearch train reranker --help"
        )
    if not isinstance(reranker, FusionReranker):
        raise UsageError(
            f"The reranker {reranker.id} does not tell where its words look.",
            hint="Leave out --reranker, or name a file that mmsearch train reranker made.",
        )
    if not reranker.settings.layers:
        raise UsageError(
            f"The reranker {reranker.id} was trained without cross-attention: its words look nowhere.",
            hint="Train one with cross-attention: mmsearch train reranker --help",
        )
    return reranker


def _typed(sentence: str, pieces: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The typed words that pieces are of, and for each piece which of them.

    The reader passes over some pieces, whatever word they are of, and over all beyond a number: what it kept is a
    subsequence of the pieces of all words, in which the next kept piece is always the first that is equal to it.
    """
    words: list[str] = []
    owners: list[int] = []
    for word, own in _split(sentence):
        before = len(owners)
        for piece in own:
            if len(owners) < len(pieces) and piece == pieces[len(owners)]:
                owners.append(len(words))
        if len(owners) > before:
            words.append(word.strip(_AROUND_WORDS) or word)
    return tuple(words), np.array(owners, np.int64)


def _split(sentence: str) -> Iterator[tuple[str, list[str]]]:
    """Typed words with their pieces, without the marks of a text's beginning and end."""
    reader = WordPiece(MODELS / "mini_vocabulary.txt")
    for word in sentence.split():
        yield word, [reader.piece(id_) for id_ in reader.encode(word, _MOST_PIECES)[1:-1]]


def _merged(counts: Array, attention: Array, owners: NDArray[np.int64]) -> tuple[Array, Array]:
    """Weights (p,) and maps (p, places) of pieces -> those of the w words that they are of."""
    belongs = (np.arange(owners[-1] + 1)[:, None] == owners).astype(np.float32)  # (w, p)
    shares = belongs * np.maximum(counts, np.finfo(np.float32).tiny)
    return belongs @ counts, (shares / shares.sum(axis=1, keepdims=True)) @ attention


def _beside(own: Array, asked: Array, others: Array) -> Array:
    """The pictures (n, dim) that would stand in a shortlist with this one (dim,)."""
    others = others[others @ own < _SAME]
    return others[np.argsort(-(others @ asked), kind="stable")[: _SHORTLIST - 1]]


def _view(encoder: Encoder, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """What the encoder sees of a picture: left, top, right and bottom in shares of its width and height."""
    if not isinstance(encoder, PreparedEncoder):
        return (0.0, 0.0, 1.0, 1.0)  # those in the built-in format squash the whole picture
    transform = ImageTransform.from_config(encoder.describe().transform)
    across, down = transform.width / size[0], transform.height / size[1]
    if transform.resize_mode == "squash":
        return (0.0, 0.0, 1.0, 1.0)
    scale = max(across, down) if transform.resize_mode == "shortest" else min(across, down)
    half_width, half_height = across / scale / 2, down / scale / 2
    return (0.5 - half_width, 0.5 - half_height, 0.5 + half_width, 0.5 + half_height)


def _probability(log_odds: float) -> float:
    return float(np.exp(-np.logaddexp(0.0, -log_odds)))
