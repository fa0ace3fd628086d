"""Measures an encoder: captioned pictures, or classes of files -> embeddings -> ranks -> figures with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.evaluation.bootstrap import classification_intervals, retrieval_intervals
from mmsearch.evaluation.datasets import CaptionSet, ClassSet, is_sound
from mmsearch.evaluation.embedding import (
    EmbeddedCaptions,
    EmbeddedClasses,
    ProgressCallback,
    embed_captions,
    embed_classes,
)
from mmsearch.evaluation.prompts import PROMPTS, SOUND_PROMPTS
from mmsearch.evaluation.reranking import reranked_rankings
from mmsearch.training.evaluate import (
    ClassificationMetrics,
    RetrievalMetrics,
    class_hits,
    classification_figures,
    retrieval_figures,
)
from mmsearch.training.ranking import ClassRanking, Ranking, caption_rankings, rank_classes
from mmsearch.types import Failure

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsearch.protocols import Encoder, Reranker

__all__ = [
    "CaptionsReport",
    "ClassesReport",
    "Confusion",
    "Direction",
    "RerankedReport",
    "evaluate_captions",
    "evaluate_classes",
    "measure_captions",
    "measure_classes",
]


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction of retrieval, from captions to images or back.

    Attributes:
        ranking: Where each query found what belongs to it.
        groups: (n_queries,) the image that each query is, or is a caption of.
    """

    ranking: Ranking
    groups: NDArray[np.int64]

    def metrics(self) -> RetrievalMetrics:
        """The figures with their confidence intervals."""
        return replace(retrieval_figures(self.ranking), ci=retrieval_intervals(self.ranking, self.groups))


@dataclass(frozen=True, slots=True)
class RerankedReport:
    """The same measured again with the first of each list put in the order of a reranker.

    Attributes:
        reranker: Its id.
        shortlist: How many of each list it read.
    """

    reranker: str
    shortlist: int
    text_to_image: RetrievalMetrics
    image_to_text: RetrievalMetrics

    def to_dict(self) -> dict[str, Any]:
        """In the form that scripts rely on."""
        return {
            "reranker": self.reranker,
            "shortlist": self.shortlist,
            "text_to_image": self.text_to_image.to_dict(),
            "image_to_text": self.image_to_text.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class CaptionsReport:
    """How well captions find their pictures, and pictures their captions.

    Attributes:
        images, captions: How many were measured.
        skipped: Pictures that could not be read; they and their captions are left out.
        embedded: What was measured.
        by_text, by_image: Where each query found what belongs to it, for plots and sheets.
        reranked: The same with a reranker, where one was measured as well.
    """

    model: str
    images: int
    captions: int
    text_to_image: RetrievalMetrics
    image_to_text: RetrievalMetrics
    skipped: tuple[Failure, ...]
    embedded: EmbeddedCaptions = field(repr=False, compare=False)
    by_text: Direction = field(repr=False, compare=False)
    by_image: Direction = field(repr=False, compare=False)
    reranked: RerankedReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report in the form that scripts rely on."""
        return {
            "model": self.model,
            "images": self.images,
            "captions": self.captions,
            "text_to_image": self.text_to_image.to_dict(),
            "image_to_text": self.image_to_text.to_dict(),
            **({} if self.reranked is None else {"reranked": self.reranked.to_dict()}),
        }


@dataclass(frozen=True, slots=True)
class Confusion:
    """Pictures or sounds of one class that were taken for another.

    Attributes:
        label, predicted: Names of their class and of the other.
        count: How many of the class were.
        items: How many the class has.
    """

    label: str
    predicted: str
    count: int
    items: int


@dataclass(frozen=True, slots=True)
class ClassesReport:
    """How often the class of a picture or a sound is recognised without training for it.

    Attributes:
        classes, items: How many were measured.
        prompts: The sentences that the names of the classes were put into.
        skipped: Files that could not be read; they are left out.
        embedded: What was measured.
        ranking: Where each file found its class, for plots and sheets.
    """

    model: str
    classes: int
    items: int
    metrics: ClassificationMetrics
    prompts: tuple[str, ...]
    skipped: tuple[Failure, ...]
    embedded: EmbeddedClasses = field(repr=False, compare=False)
    ranking: ClassRanking = field(repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """The report in the form that scripts rely on."""
        return {
            "classes": self.classes,
            "items": self.items,
            **self.metrics.to_dict(),
            "model": self.model,
            "prompts": list(self.prompts),
        }

    @property
    def what(self) -> str:
        """What was measured: ``pictures`` or ``sounds``."""
        return "sounds" if is_sound(self.embedded.items[0]) else "pictures"

    def predictions(self, label: int) -> NDArray[np.int64]:
        """(classes,) as what the pictures of a class were taken, itself among them."""
        return np.bincount(self.ranking.predicted[self.ranking.labels == label], minlength=self.classes)

    def class_accuracies(self) -> NDArray[np.float64]:
        """(classes,) the share of each class's pictures that were recognised; NaN for one without pictures."""
        sizes = np.bincount(self.ranking.labels, minlength=self.classes)
        return np.where(sizes > 0, class_hits(self.ranking, 1, self.classes) / np.maximum(sizes, 1), np.nan)

    def confusions(self, most: int) -> list[Confusion]:
        """The pairs of classes that are confused most, by the number of pictures, at most so many of them."""
        wrong = self.ranking.labels != self.ranking.predicted
        pairs, counts = np.unique(
            np.stack([self.ranking.labels[wrong], self.ranking.predicted[wrong]]), axis=1, return_counts=True
        )
        sizes = np.bincount(self.ranking.labels, minlength=self.classes)
        names = self.embedded.names
        return [
            Confusion(names[label], names[predicted], int(counts[i]), int(sizes[label]))
            for i in np.argsort(-counts, kind="stable")[:most]
            for label, predicted in [pairs[:, i]]
        ]


def evaluate_captions(
    encoder: Encoder,
    captions: CaptionSet,
    *,
    reranker: Reranker | None = None,
    shortlist: int = 100,
    progress: ProgressCallback | None = None,
) -> CaptionsReport:
    """Measure retrieval in both directions, over all pictures and all captions.

    Args:
        encoder: What is measured.
        captions: Pictures and what is said of them.
        reranker: Measured as well, beside the figures without it.
        shortlist: How many of each list it reads.
        progress: Called as the work goes on.

    Raises:
        UsageError: None of the pictures can be read.
        EncoderError: The encoder or the reranker failed.
    """
    embedded = embed_captions(encoder, captions, reranker=reranker, progress=progress)
    report = measure_captions(encoder.id, embedded)
    if reranker is None:
        return report
    by_text, by_image = reranked_rankings(encoder.id, embedded, reranker, shortlist, progress=progress)
    there, back = Direction(by_text, report.by_text.groups), Direction(by_image, report.by_image.groups)
    return replace(report, reranked=RerankedReport(reranker.id, shortlist, there.metrics(), back.metrics()))


def measure_captions(model: str, embedded: EmbeddedCaptions) -> CaptionsReport:
    """Measure retrieval in both directions, by embeddings."""
    by_text, by_image = caption_rankings(embedded.image_embeddings, embedded.caption_embeddings, embedded.owners)
    text_to_image = Direction(by_text, embedded.owners)
    image_to_text = Direction(by_image, np.arange(len(embedded.images)))
    return CaptionsReport(
        model=model,
        images=len(embedded.images),
        captions=len(embedded.captions),
        text_to_image=text_to_image.metrics(),
        image_to_text=image_to_text.metrics(),
        skipped=embedded.skipped,
        embedded=embedded,
        by_text=text_to_image,
        by_image=image_to_text,
    )


def evaluate_classes(
    encoder: Encoder,
    classes: ClassSet,
    *,
    prompts: Sequence[str] | None = None,
    progress: ProgressCallback | None = None,
) -> ClassesReport:
    """Measure zero-shot classification.

    Args:
        encoder: What is measured.
        classes: Pictures or sounds, and what they are.
        prompts: Sentences with ``{}`` for the name of a class; their embeddings are averaged. Without them those that
            suit what is measured.
        progress: Called after each batch.

    Raises:
        UsageError: None of the files can be read, or a prompt has no ``{}``.
        EncoderError: The encoder failed, or takes no sounds.
    """
    if prompts is None:
        prompts = SOUND_PROMPTS if is_sound(classes.items[0]) else PROMPTS
    return measure_classes(encoder.id, embed_classes(encoder, classes, prompts, progress=progress), prompts)


def measure_classes(model: str, embedded: EmbeddedClasses, prompts: Sequence[str] = PROMPTS) -> ClassesReport:
    """Measure zero-shot classification, by embeddings; the prompts are those that the classes were embedded with."""
    n_classes = len(embedded.names)
    ranking = rank_classes(embedded.item_embeddings, embedded.class_embeddings, embedded.labels)
    metrics = classification_figures(ranking, n_classes)
    return ClassesReport(
        model=model,
        classes=n_classes,
        items=len(embedded.items),
        metrics=replace(metrics, ci=classification_intervals(ranking, n_classes)),
        prompts=tuple(prompts),
        skipped=embedded.skipped,
        embedded=embedded,
        ranking=ranking,
    )
