"""Words and pictures in, log-odds that they match out: by how well CoCa would write the words under the picture.

CoCa (Yu and others, arXiv 2205.01917) has a decoder that writes captions, reading the picture through cross-attention.
Here it writes nothing: it says how likely each of the given words is after the ones before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmsearch.encoders.open_clip_source import OpenClipSource
from mmsearch.errors import EncoderError
from mmsearch.rerank.file_reranker import FileReranker, PairModel

if TYPE_CHECKING:
    from numpy.typing import NDArray


__all__ = ["CocaReranker"]


class CocaReranker(FileReranker[OpenClipSource]):
    """A CoCa model of open_clip; made by `mmsearch.rerank.foreign.load_foreign_reranker`.

    The mean log-likelihood of the words is no probability of a match: it depends on how common they are, and lies in a
    narrow range for one query. So it is standardised over the shortlist (mean 0, deviation 1) and added to the prior,
    the dual encoder's log-odds: a candidate under which the words are one deviation more likely than on the average
    gains a factor e in odds. It follows that the numbers hold within the shortlist that they came with.

    Among texts for a picture, common phrases are likely under any picture and so have an advantage.
    """

    def _make(self) -> PairModel:
        from mmsearch.encoders.open_clip_loading import load_model

        loaded = load_model(self._source, offline=self._offline, notify=self._notify)
        if not hasattr(loaded.model, "text_decoder"):
            raise EncoderError(
                f"The model {self.id} has no decoder of texts: it is no CoCa model.",
                hint="Choose one such as coca/coca_ViT-B-32/mscoco_finetuned_laion2b_s13b_b90k.",
            )
        from mmsearch.rerank.pair_models import CocaPairs  # torch: what is missing was said by now

        return CocaPairs(loaded, self._device, self._precision)

    def _odds(self, scores: NDArray[np.float64], priors: NDArray[np.float64]) -> NDArray[np.float64]:
        deviation = float(scores.std())
        return priors + (scores - scores.mean()) / deviation if deviation > 1e-9 else priors
