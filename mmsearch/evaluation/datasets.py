"""Pictures with captions or in class folders: files on disk -> what there is to measure.

Measuring reads its data as training does (`mmsearch.training.datasets`); this names what it needs of that.
"""

from __future__ import annotations

from mmsearch.training.captions import CaptionedImages as CaptionSet
from mmsearch.training.captions import read_captions
from mmsearch.training.classes import ClassSet, read_classes
from mmsearch.training.datasets import read_dataset

__all__ = ["CaptionSet", "ClassSet", "read_captions", "read_classes", "read_dataset"]
