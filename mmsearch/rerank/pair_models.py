"""Loaded models that read a picture and words together in; their scores of batches of pairs, on a device, out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mmsearch.encoders.precision import Precision, choose_device, choose_precision
from mmsearch.encoders.torch_pixels import PixelBatches
from mmsearch.encoders.torch_tower import Batched

if TYPE_CHECKING:
    from mmsearch.encoders.image_transform import ImageTransform
    from mmsearch.encoders.open_clip_loading import LoadedModel
    from mmsearch.rerank.blip import LoadedBlip

__all__ = ["BlipPairs", "CocaPairs"]

_BATCHES = {"cpu": 8, "cuda": 64, "mps": 16}
_EACH = 4
_Pictures = Sequence[NDArray[np.uint8]]


class _Pairs(Batched):
    """What both have in common.

    Args:
        model: On the CPU; taken over and changed.
        transform: How it wants its pictures.
        device: Where it runs; the best place here when None.
        precision: Of its weights; the fastest that serves when None.

    Raises:
        UsageError: The device is not there.
        EncoderError: The device has too little memory for the weights.
    """

    def __init__(self, model: Any, transform: ImageTransform, device: str | None, precision: Precision | None) -> None:
        place = choose_device(device)
        super().__init__("pair", place, choose_precision(precision, place), batches=_BATCHES, each=_EACH)
        self.transform = transform
        self._pixels = PixelBatches(transform, self.device, self._type)
        self._model: Any = self._place(model)

    def _scores(self, things: Sequence[Any], compute: Any) -> NDArray[np.float32]:
        """(n,) scores that `compute` gives for parts of the things."""
        size = self.batch_size
        parts = [self._in_batches(things[start : start + size], compute) for start in range(0, len(things), size)]
        return np.concatenate([scores for (scores,) in parts])


class BlipPairs(_Pairs):
    """The log-odds of BLIP's image-text matching head."""

    def __init__(self, loaded: LoadedBlip, device: str | None, precision: Precision | None) -> None:
        super().__init__(loaded.model, loaded.transform, device, precision)
        self._tokenizer, self._limit = loaded.tokenizer, loaded.limit

    def score_pictures(self, words: str, pictures: _Pictures) -> NDArray[np.float32]:
        """Words with each of n prepared pictures: (n,) log-odds that they match."""
        tokens = self._tokens([words])

        def compute(batch: _Pictures) -> tuple[NDArray[np.float32]]:
            with torch.inference_mode():
                return (self._log_odds(self._seen(batch), tokens * len(batch)),)

        return self._scores(pictures, compute)

    def score_texts(self, picture: NDArray[np.uint8], texts: Sequence[str]) -> NDArray[np.float32]:
        """A prepared picture with each of n texts: (n,) log-odds that they match."""
        (seen,) = self._in_batches([picture], lambda one: (self._seen(one).float().cpu().numpy(),))

        def compute(batch: Sequence[list[int]]) -> tuple[NDArray[np.float32]]:
            with torch.inference_mode():
                patches = torch.from_numpy(seen).to(self.device, self._type)
                return (self._log_odds(patches.expand(len(batch), -1, -1), batch),)

        return self._scores(self._tokens(texts), compute)

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        # Filled up later, for each batch: a tokenizer is not to be shared by threads.
        found: list[list[int]] = self._tokenizer(list(texts), truncation=True, max_length=self._limit)["input_ids"]
        return found

    def _seen(self, pictures: _Pictures) -> Tensor:
        """N prepared pictures -> (n, 1 + patches, width)."""
        with torch.inference_mode():
            seen: Tensor = self._model.vision_model(pixel_values=self._pixels(pictures))[0]
        return seen

    def _log_odds(self, seen: Tensor, tokens: Sequence[list[int]]) -> NDArray[np.float32]:
        """(n, 1 + patches, width), and tokens of n texts -> (n,)."""
        longest = max(map(len, tokens))
        pad = self._tokenizer.pad_token_id or 0
        ids = torch.tensor([row + [pad] * (longest - len(row)) for row in tokens], device=self.device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in tokens], device=self.device)
        read = self._model.text_encoder(
            input_ids=ids,
            attention_mask=mask,
            encoder_hidden_states=seen,
            encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long, device=self.device),
        )[0]
        unlike, like = self._model.itm_head(read[:, 0]).float().unbind(dim=1)
        odds: NDArray[np.float32] = (like - unlike).cpu().numpy()
        return odds


class CocaPairs(_Pairs):
    """The log-likelihood of words under a picture, the mean over tokens, of a CoCa model."""

    def __init__(self, loaded: LoadedModel, device: str | None, precision: Precision | None) -> None:
        super().__init__(loaded.model, loaded.transform, device, precision)
        self._tokenizer = loaded.tokenizer

    def score_pictures(self, words: str, pictures: _Pictures) -> NDArray[np.float32]:
        """Words with each of n prepared pictures: (n,) mean log-likelihoods of their tokens."""
        tokens = self._tokenizer([words])

        def compute(batch: _Pictures) -> tuple[NDArray[np.float32]]:
            with torch.inference_mode():
                seen = self._model(self._pixels(batch))
                return (self._likelihoods(seen, tokens.expand(len(batch), -1)),)

        return self._scores(pictures, compute)

    def score_texts(self, picture: NDArray[np.uint8], texts: Sequence[str]) -> NDArray[np.float32]:
        """A prepared picture with each of n texts: (n,) mean log-likelihoods of their tokens."""

        def look(one: _Pictures) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            with torch.inference_mode():
                seen = self._model(self._pixels(one))
                return seen["image_features"].float().cpu().numpy(), seen["image_embs"].float().cpu().numpy()

        names = ("image_features", "image_embs")
        found = self._in_batches([picture], look)

        def compute(batch: Sequence[Tensor]) -> tuple[NDArray[np.float32]]:
            with torch.inference_mode():
                seen = {
                    name: torch.from_numpy(rows).to(self.device, self._type).expand(len(batch), *rows.shape[1:])
                    for name, rows in zip(names, found, strict=True)
                }
                return (self._likelihoods(seen, torch.stack(list(batch))),)

        return self._scores([*self._tokenizer(list(texts))], compute)

    def _likelihoods(self, seen: dict[str, Tensor], tokens: Tensor) -> NDArray[np.float32]:
        """What the model saw in n pictures, and n rows of tokens -> (n,)."""
        pad = self._model.pad_id
        # Texts are filled up to one length; without what all are filled up with, the decoder has far less to do. It
        # reads from left to right, so nothing changes.
        length = int((tokens != pad).any(dim=0).nonzero().max()) + 1
        tokens = tokens[:, :length].to(self.device)
        logits = self._model(
            None, tokens, image_latent=seen["image_features"], image_embs=seen["image_embs"], output_labels=True
        )["logits"]
        wanted = tokens[:, 1:]
        losses = functional.cross_entropy(
            logits.float().transpose(1, 2), wanted, ignore_index=pad, reduction="none"
        )  # (n, t, vocabulary) -> (n, t)
        counts = (wanted != pad).sum(dim=1).clamp(min=1)
        means: NDArray[np.float32] = (-losses.sum(dim=1) / counts).cpu().numpy()
        return means
