"""The reranker that mmsearch trains: stored tokens and a query's words go in, calibrated log-odds come out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.encoders.mini_text import read_safetensors
from mmsearch.errors import EncoderError, ModelMissingError
from mmsearch.rerank.adapter import Adapter
from mmsearch.rerank.cross_attention import CrossAttention, Looks
from mmsearch.rerank.query_bank import Queries, QueryBank, pictures_as_queries
from mmsearch.rerank.words import WordReader
from mmsearch.types import RerankCandidate, RerankTerm, TokenFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.encoders.mini import MiniEncoder

__all__ = ["FORMAT", "FusionReranker", "FusionSettings", "Reading"]

FORMAT = "mmsearch-reranker-1"
_HINT = "Make one: mmsearch train reranker --help"


@dataclass(frozen=True, slots=True)
class Reading:
    """How what is known of a pair makes log-odds: a weighted sum of logit, prior and hub.

    The weights are fitted so that what matches comes first, the sum is brought to the scale of the priors, which are
    calibrated (see `mmsearch.training.reranker_figures.fit_reading`).

    Attributes:
        logit: Weight of the fusion model's logit.
        prior: Weight of the dual encoder's log-odds.
        constant: Added to all.
        hub: Weight of how much of everything the candidate is close to, beside the mean of the shortlist (see
            `mmsearch.rerank.query_bank`); below 0.
    """

    logit: float
    prior: float
    constant: float
    hub: float = 0.0

    def log_odds(
        self, logits: NDArray[Any], priors: NDArray[Any], hubs: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Of the n candidates of a shortlist, or of several of one length: all (..., n)."""
        odds = self.logit * logits.astype(np.float64) + self.prior * priors + self.constant
        if hubs is not None and hubs.size:
            odds = odds + self.hub * (hubs - hubs.mean(axis=-1, keepdims=True))
        return np.asarray(odds)


@dataclass(frozen=True, slots=True)
class FusionSettings:
    """What a reranker's file says of it, beside its weights.

    Attributes:
        encoder: Id of the encoder whose patches it learned to read.
        heads: Of each layer of cross-attention.
        layers: Of cross-attention.
        depths: For each reader, layers of the built-in text tower that words go through; 0 for all.
        grid: Rows and columns of the patches.
        wanted: Rows and columns of the tokens.
        text_to_image, image_to_text: How its logits become log-odds where words ask, and where a picture asks.
    """

    encoder: str
    heads: int
    layers: int
    depths: tuple[int, ...]
    grid: tuple[int, int]
    wanted: tuple[int, int]
    text_to_image: Reading
    image_to_text: Reading

    def to_metadata(self) -> dict[str, str]:
        """As the file holds it."""
        return {"format": FORMAT, "settings": json.dumps(asdict(self))}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> FusionSettings:
        """Raises `KeyError`, `TypeError` or `ValueError` where they are those of something else."""
        if metadata["format"] != FORMAT:
            raise ValueError(metadata["format"])
        values = json.loads(metadata["settings"])
        numbers = [values["heads"], values["layers"], *values["grid"], *values["wanted"], *values["depths"]]
        if not all(isinstance(number, int) for number in numbers) or len(numbers) < 7:
            raise ValueError(metadata["settings"])
        for name in ("text_to_image", "image_to_text"):
            values[name] = Reading(**values[name])
        for name in ("grid", "wanted", "depths"):
            values[name] = tuple(values[name])
        return cls(**values)


class FusionReranker:
    """The fusion model with the adapter that makes its tokens; `mmsearch.protocols.Reranker` tells what it does.

    Args:
        file: Its weights, ``.safetensors``.
        mini: The built-in encoder where it is loaded anyway: its text tower reads the words.
        hint: What helps where the file cannot be read.

    Raises:
        ModelMissingError: The file is not there, is damaged, or holds something else.
    """

    def __init__(self, file: Path, mini: MiniEncoder | None = None, *, hint: str = _HINT) -> None:
        arrays, metadata = read_safetensors(file, hint=hint)
        try:
            self.settings = settings = FusionSettings.from_metadata(metadata)
            self._adapter = Adapter(_below("adapter.", arrays), settings.grid, settings.wanted)
            self._readers = [
                CrossAttention(_below(f"readers.{at}.", arrays), settings.heads, settings.layers)
                for at in range(len(settings.depths))
            ]
            made = TokenFormat(settings.wanted[0] * settings.wanted[1], self._adapter.dim)
            if any(TokenFormat(reader.count, reader.dim) != made for reader in self._readers):
                raise ValueError("the tokens that are made are not those that are read")
            self._bank = QueryBank(arrays["bank"])
            digest = _digest(metadata["settings"], arrays)
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise ModelMissingError(f"{file} holds no reranker that can be read.", hint=hint) from error
        self.id = f"{settings.encoder}-reranker@{digest[:8]}"
        self._words = WordReader(settings.depths, mini)

    @property
    def tokens(self) -> TokenFormat:
        """What is kept of each picture."""
        return TokenFormat(self._readers[0].count, self._readers[0].dim)

    def compress(self, patches: NDArray[np.float32]) -> NDArray[np.int8]:
        """Make tokens of what the image tower yields: (n, places, width) -> (n, count, dim).

        Raises:
            EncoderError: The patches are not those that it learned from.
        """
        rows, columns = self.settings.grid
        if patches.ndim != 3 or patches.shape[1:] != (rows * columns, self._adapter.width):
            raise EncoderError(
                f"The reranker {self.id} reads {rows * columns} patches of {self._adapter.width} numbers, not"
                f" {' x '.join(map(str, patches.shape[1:]))}."
            )
        return self._adapter.tokens(patches)

    def compress_places(self, patches: NDArray[np.float32]) -> NDArray[np.int8]:
        """Make tokens of patches that were brought to as many places already: (n, count, width) -> (n, count, dim)."""
        return self._adapter.tokens_of_places(patches)

    def logits(self, tokens: NDArray[np.int8], sentences: Sequence[str]) -> NDArray[np.float32]:
        """Image-text matching logits of pictures (n, count, dim) and m sentences, all with all: (m, n)."""
        words = self._words.read(sentences)
        states = np.split(words.states, len(self._readers), axis=1)
        found = [reader.logits(tokens, own, words.owners) for reader, own in zip(self._readers, states, strict=True)]
        return np.asarray(np.mean(found, axis=0))

    def log_odds(self, term: RerankTerm, candidates: Sequence[RerankCandidate]) -> NDArray[np.float64] | None:
        """Log-odds (n,) that candidates match words, or that texts match a picture; see `protocols.Reranker`."""
        if isinstance(term.content, str):
            return self._of_pictures(term, candidates)
        if term.tokens is not None:
            return self._of_texts(term, candidates)
        return None

    def looks(self, tokens: NDArray[np.int8], sentence: str) -> tuple[tuple[str, ...], Looks]:
        """The word pieces of a sentence, and where each looks in a picture (count, dim)."""
        words = self._words.read([sentence])
        states = np.split(words.states, len(self._readers), axis=1)
        found = [reader.looks(tokens, own) for reader, own in zip(self._readers, states, strict=True)]
        attention = np.concatenate([looks.attention for looks in found])
        return words.pieces, Looks(attention, np.asarray(np.mean([looks.weights for looks in found], axis=0)))

    def _of_pictures(self, term: RerankTerm, candidates: Sequence[RerankCandidate]) -> NDArray[np.float64]:
        assert isinstance(term.content, str)
        odds = np.full(len(candidates), np.nan)
        there = [at for at, candidate in enumerate(candidates) if candidate.tokens is not None]
        if there:
            own = [candidates[at] for at in there]
            logits = self.logits(np.stack([candidate.tokens for candidate in own]), [term.content])[0]  # type: ignore[misc]
            queries = None if term.pictures is None else self._bank.fitting(term.pictures)
            odds[there] = _read(self.settings.text_to_image, logits, own, queries)
        return odds

    def _of_texts(self, term: RerankTerm, candidates: Sequence[RerankCandidate]) -> NDArray[np.float64]:
        assert term.tokens is not None
        odds = np.full(len(candidates), np.nan)
        there = [at for at, candidate in enumerate(candidates) if candidate.record.segment.text]
        if there:
            own = [candidates[at] for at in there]
            logits = self.logits(term.tokens[None], [candidate.record.segment.text or "" for candidate in own])[:, 0]
            queries = None if term.pictures is None else pictures_as_queries(term.pictures, term.embedding)
            odds[there] = _read(self.settings.image_to_text, logits, own, queries)
        return odds


def _read(
    reading: Reading, logits: NDArray[np.float32], candidates: Sequence[RerankCandidate], queries: Queries | None
) -> NDArray[np.float64]:
    """Log-odds (n,) of n candidates, all that is known of them put together."""
    priors = np.array([candidate.prior for candidate in candidates])
    hubs = None if queries is None else queries.hubs(np.stack([candidate.embedding for candidate in candidates]))
    return reading.log_odds(logits, priors, hubs)


def _digest(settings: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    """What a reranker is, whatever order its file has: safetensors writes the same things in one or another."""
    found = hashlib.sha256(settings.encode())
    for name in sorted(arrays):
        found.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        found.update(np.ascontiguousarray(arrays[name]).data)
    return found.hexdigest()


def _below(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
