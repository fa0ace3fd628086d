"""Photos and captions that training has not seen, and how much better a reranker puts the shortlists of the encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmsearch.query.calibration import calibration_for
from mmsearch.rerank.fusion import Reading
from mmsearch.rerank.query_bank import QueryBank, pictures_as_queries, spread
from mmsearch.training.evaluate import retrieval_metrics
from mmsearch.training.fusion_network import FusionNetwork, Sentences
from mmsearch.training.reranker_inputs import SeenPhotos, SentenceStates
from mmsearch.types import Modality
from mmsearch.vectors.sampling import SAMPLE_SIZE

__all__ = ["RerankDev", "Shortlists", "fit_reading", "log_odds_of"]

_CAPTIONS_AT_ONCE, _PHOTOS_AT_ONCE = 64, 128
_SEEN_CAPTIONS, _SEEN_PHOTOS = 1000, 200
SIZES = (10, 20, 50, 100, 200)


def log_odds_of(
    encoder_id: str, similarities: NDArray[np.float32], asked: Modality, found: Modality
) -> NDArray[np.float64]:
    """(queries, things) similarities -> log-odds, with the things as the background, as a search has them."""
    calibration = calibration_for(encoder_id, asked, found)
    rows = [calibration.log_odds(row, calibration.background(row)) for row in similarities]
    return np.stack(rows) if rows else np.zeros(similarities.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Shortlists:
    """One direction of retrieval: queries, the things that they are to find, and what is known of each pair.

    Attributes:
        priors: (queries, things) log-odds by the dual encoder.
        relevant: (queries, things) what belongs together.
        hubs: (queries, things), see `mmsearch.rerank.query_bank`; or the same for all queries, (1, things).
    """

    priors: NDArray[np.float64]
    relevant: NDArray[np.bool_]
    hubs: NDArray[np.float64] | None = None

    def select(self, queries: NDArray[Any]) -> Shortlists:
        """Some of the queries."""
        hubs = self.hubs if self.hubs is None or len(self.hubs) == 1 else self.hubs[queries]
        return Shortlists(self.priors[queries], self.relevant[queries], hubs)

    def without_hubs(self) -> Shortlists:
        """The same, as if nothing were known of hubs."""
        return Shortlists(self.priors, self.relevant)

    def shortlists(self, size: int, *others: NDArray[Any]) -> tuple[NDArray[np.int64], list[NDArray[Any]]]:
        """The first `size` of each query, (queries, size), their priors, hubs (0 where unknown) and other values."""
        size = min(size, self.priors.shape[1])
        order = np.argsort(-self.priors, axis=1, kind="stable")[:, :size]
        hubs = np.zeros((1, self.priors.shape[1])) if self.hubs is None else self.hubs
        full = (self.priors, np.broadcast_to(hubs, self.priors.shape), *others)
        return order, [np.take_along_axis(values, order, axis=1) for values in full]

    def _belonging(self) -> list[NDArray[np.int64]]:
        return [np.flatnonzero(row) for row in self.relevant]

    def scores(self, logits: NDArray[np.float32], reading: Reading, size: int) -> NDArray[np.float64]:
        """(queries, things) with the first `size` of each query put in the reranker's order, before all others."""
        order, (priors, hubs, own) = self.shortlists(size, logits)
        read = reading.log_odds(own, priors, hubs)
        scores: NDArray[np.float64] = self.priors - (self.priors.max() + 1)
        np.put_along_axis(scores, order, read - read.min() + 1, axis=1)
        return scores

    def figures(self, logits: NDArray[np.float32] | None, reading: Reading | None, size: int) -> dict[str, Any]:
        """Recall and the like with a shortlist of so many, or without reranking."""
        scores = self.priors if logits is None or reading is None else self.scores(logits, reading, size)
        return retrieval_metrics(scores, self._belonging()).to_dict()

    def crossed(self, logits: NDArray[np.float32], size: int, alone: bool = False) -> dict[str, Any]:
        """The figures, each half of the queries read in the way that was fitted on the other half.

        Args:
            logits: (queries, things).
            size: Of the shortlist.
            alone: By the logits alone, without what the dual encoder knew.
        """
        scores = np.empty(self.priors.shape)
        parts = np.arange(len(self.priors)) % 2
        for part in (0, 1):
            own, other = parts == part, parts != part
            if not own.any():  # a single query
                continue
            there = self.select(other)
            reading = Reading(1.0, 0.0, 0.0) if alone else fit_reading(there, logits[other], size)
            scores[own] = self.select(own).scores(logits[own], reading, size)
        return retrieval_metrics(scores, self._belonging()).to_dict()


def fit_reading(lists: Shortlists, logits: NDArray[np.float32], size: int = 100) -> Reading:
    """Find how much logit, prior and hub count.

    Their weights are those under which the right ones of a shortlist are likeliest, as a softmax over it. Their sum is
    then brought to the mean and the deviation that the priors have over all shortlists: a reranked hit's log-odds mean
    what those of a hit that was not reranked mean, and lists of both kinds can be joined.
    """
    _, (priors, hubs, own, right_) = lists.shortlists(size, logits.astype(np.float64), lists.relevant)
    values = torch.from_numpy(np.stack([own, priors, hubs - hubs.mean(axis=1, keepdims=True)]))  # (3, queries, size)
    right = torch.from_numpy(right_)
    listed = right.any(dim=1)
    values, right = values[:, listed], right[listed]
    if not len(right):
        return Reading(0.0, 1.0, 0.0)
    # Logarithms of the first two weights: both count for something.
    free = torch.zeros(3, dtype=torch.float64, requires_grad=True)

    def weights() -> torch.Tensor:
        return torch.cat([free[:2].exp(), free[2:]])

    def listwise() -> torch.Tensor:
        chances = torch.log_softmax(torch.einsum("p,pqs->qs", weights(), values), dim=1)
        return -(chances * right).sum() / right.sum()

    _minimise([free], listwise)
    chosen = weights().detach()
    score = torch.einsum("p,pqs->qs", chosen, values)
    # On the scale that the priors have: their mean and deviation over all shortlists.
    wanted, there = float(values[1].std(correction=0)), float(score.std(correction=0))
    slope = wanted / there if min(wanted, there) > 1e-9 else 1.0  # a single pair has no deviation
    constant = float(values[1].mean() - slope * score.mean())
    logit, prior, hub = (slope * chosen).tolist()
    # The last digits depend on how sums are ordered; the id of a reranker that is written again shall not.
    return Reading(*(round(value, 6) for value in (logit, prior, constant, hub)))


def _minimise(parameters: list[torch.Tensor], loss: Any) -> None:
    optimizer = torch.optim.LBFGS(parameters, max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value: torch.Tensor = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]


class RerankDev:
    """A dev set as a reranker sees it.

    Args:
        encoder_id: Whose shortlists are read.
        photos: What the encoder sees.
        captions: (m, dim) embeddings of the captions.
        words: Of the captions.
        owners: (m,) the photo of each caption.
        bank: Sentences that may be asked, (q, dim) int8; none where hubs are left out.
        device: Where the network runs.
        precision: ``bf16``, ``fp16`` or ``fp32``.
    """

    def __init__(
        self,
        encoder_id: str,
        photos: SeenPhotos,
        captions: NDArray[np.float32],
        words: SentenceStates,
        owners: NDArray[np.int64],
        *,
        bank: NDArray[np.int8] | None = None,
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        self._photos, self._words = photos, words
        self._device, self._precision = torch.device(device), precision
        similar = captions @ photos.embeddings.T  # (m, n)
        relevant = owners[:, None] == np.arange(len(photos.embeddings))
        there = log_odds_of(encoder_id, similar, Modality.TEXT, Modality.IMAGE)
        back = log_odds_of(encoder_id, np.ascontiguousarray(similar.T), Modality.IMAGE, Modality.TEXT)
        pictures = photos.embeddings[spread(len(photos.embeddings), SAMPLE_SIZE)]
        forth = None if bank is None else QueryBank(bank).fitting(pictures).hubs(photos.embeddings)[None]
        home = None if bank is None else _hubs_of_texts(pictures, photos.embeddings, captions)
        self.text_to_image = Shortlists(there, relevant, forth)
        self.image_to_text = Shortlists(back, np.ascontiguousarray(relevant.T), home)

    def before(self) -> dict[str, dict[str, Any]]:
        """The figures without reranking."""
        return {
            "text_to_image": self.text_to_image.figures(None, None, 0),
            "image_to_text": self.image_to_text.figures(None, None, 0),
        }

    def logits(
        self, model: FusionNetwork, captions: NDArray[np.int64] | None = None, photos: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """(captions, photos) logits of some, or of all."""
        captions = np.arange(len(self.text_to_image.priors)) if captions is None else captions
        photos = np.arange(len(self.image_to_text.priors)) if photos is None else photos
        found = np.empty((len(captions), len(photos)), np.float32)
        kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self._precision)
        with torch.inference_mode(), torch.autocast(self._device.type, kind, enabled=kind is not None):
            for first in range(0, len(photos), _PHOTOS_AT_ONCE):
                own = photos[first : first + _PHOTOS_AT_ONCE]
                patches = torch.from_numpy(self._photos.rows(own, np.zeros(len(own), np.int64)))
                tokens = model.tokens(patches.to(self._device))
                for start in range(0, len(captions), _CAPTIONS_AT_ONCE):
                    said = captions[start : start + _CAPTIONS_AT_ONCE]
                    states, owners = (torch.from_numpy(part).to(self._device) for part in self._words.rows(said))
                    part = model.logits(tokens, Sentences(states, owners, len(said)))
                    found[start : start + len(said), first : first + len(own)] = part.cpu().numpy()
        return found

    def quick(self, model: FusionNetwork, size: int = 100) -> dict[str, dict[str, Any]]:
        """The figures with reranking, by some of the captions and photos: what tells whether a run goes well."""
        said = spread(len(self.text_to_image.priors), _SEEN_CAPTIONS)
        seen = spread(len(self.image_to_text.priors), _SEEN_PHOTOS)
        there, back = self.text_to_image.select(said), self.image_to_text.select(seen)
        return {
            "text_to_image": there.crossed(self.logits(model, said, None), size),
            "image_to_text": back.crossed(np.ascontiguousarray(self.logits(model, None, seen).T), size),
        }


def _hubs_of_texts(
    pictures: NDArray[np.float32], asking: NDArray[np.float32], texts: NDArray[np.float32]
) -> NDArray[np.float64]:
    """(asking, texts) as each picture that asks would have them: it is not in the bank itself."""
    return np.stack([pictures_as_queries(pictures, own).hubs(texts) for own in asking])
