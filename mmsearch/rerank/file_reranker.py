"""A term and the candidates of a shortlist in, log-odds out: by a published model that reads the files themselves."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from mmsearch.errors import EncoderError
from mmsearch.rerank.file_pictures import PICTURES, batches_of, picture_of_segment, picture_of_term
from mmsearch.types import Modality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.encoders.image_transform import ImageTransform
    from mmsearch.encoders.precision import Precision
    from mmsearch.types import RerankCandidate, RerankTerm

__all__ = ["FileReranker", "PairModel"]


class PairModel(Protocol):
    """A loaded model that reads a picture and words together; the higher a score, the better they match."""

    @property
    def transform(self) -> ImageTransform:
        """How it wants its pictures."""

    @property
    def batch_size(self) -> int:
        """How many pairs it likes to get at once."""

    def score_pictures(self, words: str, pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Words with each of n prepared pictures, at least one: (n,)."""

    def score_texts(self, picture: NDArray[np.uint8], texts: Sequence[str]) -> NDArray[np.float32]:
        """A prepared picture with each of n texts, at least one: (n,)."""


SourceT = TypeVar("SourceT", bound="_Source")


class _Source(Protocol):
    """Which published model."""

    @property
    def id(self) -> str:
        """The one spelling of its id."""


class FileReranker(ABC, Generic[SourceT]):
    """A reranker without tokens: it decodes the photo, or the frame of a video, of every candidate.

    It reads words against photos and frames, and a photo against texts. Its model loads when it is first needed.

    Attributes:
        id: Its name.

    Args:
        source: Which model.
        device: Where it runs; the best place here when None.
        precision: Of its weights; the fastest that serves when None.
        offline: Never fetch weights.
        notify: Called with a sentence before something that takes long.
    """

    tokens = None

    def __init__(
        self,
        source: SourceT,
        *,
        device: str | None = None,
        precision: Precision | None = None,
        offline: bool = True,
        notify: Callable[[str], None] | None = None,
    ) -> None:
        self.id = source.id
        self._source, self._device, self._precision = source, device, precision
        self._offline, self._notify = offline, notify
        self._lock = threading.Lock()
        self._model: PairModel | None = None

    @abstractmethod
    def _make(self) -> PairModel:
        """Load the model."""

    def _odds(self, scores: NDArray[np.float64], priors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores (n,) of candidates that could be read, and their priors (n,) -> log-odds (n,)."""
        return scores

    def load(self) -> PairModel:
        """Load the model now, to see that it is there.

        Raises:
            ModelMissingError: Its weights are not on this machine, or could not be fetched.
            ExtraMissingError: A package that it needs is not installed.
            EncoderError: Its weights are not what they should be.
            UsageError: The device is not there.
        """
        with self._lock:
            if self._model is None:
                self._model = self._make()
            return self._model

    def compress(self, patches: NDArray[np.float32]) -> NDArray[np.int8]:
        """Raise `EncoderError`: it keeps no tokens."""
        raise EncoderError(f"The reranker {self.id} keeps no tokens.")

    def log_odds(self, term: RerankTerm, candidates: Sequence[RerankCandidate]) -> NDArray[np.float64] | None:
        """Say how likely candidates match a term.

        Args:
            term: Words, or a picture.
            candidates: n of them, of one modality; all that are to be compared.

        Returns:
            (n,) natural log-odds, nan for a candidate whose file is gone or cannot be read or that has no text; None
            for what it does not read at all: pictures for a picture, texts for words, sounds.

        Raises:
            EncoderError: The model is not there or failed.
            MediaError: The term's picture cannot be read.
        """
        if not candidates:
            return np.empty(0)
        modality = candidates[0].record.segment.modality
        content = term.content
        if isinstance(content, str):
            if term.asked is not Modality.TEXT or modality not in PICTURES:
                return None
            scores = self._of_pictures(_clean(content), candidates)
        else:
            if term.asked is not Modality.IMAGE or modality is not Modality.TEXT:
                return None
            model = self.load()
            picture = picture_of_term(content, max(model.transform.height, model.transform.width))
            scores = self._of_texts(model.transform(picture), candidates)
        read = np.isfinite(scores)
        if read.any():
            scores[read] = self._odds(scores[read], np.array([c.prior for c in candidates])[read])
        return scores

    def _of_pictures(self, words: str, candidates: Sequence[RerankCandidate]) -> NDArray[np.float64]:
        model = self.load()
        side = max(model.transform.height, model.transform.width)

        def read(candidate: RerankCandidate) -> NDArray[np.uint8] | None:
            picture = picture_of_segment(candidate.record, side)
            return None if picture is None else model.transform(picture)

        scores = np.full(len(candidates), np.nan)
        size = model.batch_size
        for batch, pictures in enumerate(batches_of(read, candidates, size)):
            there = {batch * size + place: picture for place, picture in enumerate(pictures) if picture is not None}
            if there:
                scores[list(there)] = model.score_pictures(words, list(there.values()))
        return scores

    def _of_texts(self, picture: NDArray[np.uint8], candidates: Sequence[RerankCandidate]) -> NDArray[np.float64]:
        model = self.load()
        texts = [candidate.record.segment.text for candidate in candidates]
        there = {place: _clean(text) for place, text in enumerate(texts) if text is not None}
        scores = np.full(len(candidates), np.nan)
        if there:
            scores[list(there)] = model.score_texts(picture, list(there.values()))
        return scores


def _clean(text: str) -> str:
    """The same text without what cannot be written in UTF-8, such as undecodable bytes of a file's name."""
    return text.encode("utf-8", "replace").decode("utf-8")
