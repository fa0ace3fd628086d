"""Measuring encoders: pictures with captions or classes on disk -> recall, rank and accuracy; loads no torch."""

from __future__ import annotations

from mmsearch.evaluation.datasets import CaptionSet, ClassSet, read_captions, read_classes
from mmsearch.evaluation.measure import (
    PROMPTS,
    CaptionsReport,
    ClassesReport,
    evaluate_captions,
    evaluate_classes,
)

__all__ = [
    "PROMPTS",
    "CaptionSet",
    "CaptionsReport",
    "ClassSet",
    "ClassesReport",
    "evaluate_captions",
    "evaluate_classes",
    "read_captions",
    "read_classes",
]
