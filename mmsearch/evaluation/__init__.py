"""Measuring encoders: captioned pictures, or classes of files -> recall, rank and accuracy; loads no torch."""

from __future__ import annotations

from mmsearch.evaluation.datasets import CaptionSet, ClassSet, is_sound, read_captions, read_classes
from mmsearch.evaluation.measure import (
    CaptionsReport,
    ClassesReport,
    Confusion,
    evaluate_captions,
    evaluate_classes,
)
from mmsearch.evaluation.prompts import PROMPTS, SOUND_PROMPTS, read_prompts
from mmsearch.training.captions import read_coco

__all__ = [
    "PROMPTS",
    "SOUND_PROMPTS",
    "CaptionSet",
    "CaptionsReport",
    "ClassSet",
    "ClassesReport",
    "Confusion",
    "evaluate_captions",
    "evaluate_classes",
    "is_sound",
    "read_captions",
    "read_classes",
    "read_coco",
    "read_prompts",
]
