"""Two towers of one matrix each, and pairs that they can learn: what the trainer's tests run on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from mmsearch.training.evaluate import caption_metrics
from mmsearch.training.losses import contrastive
from mmsearch.training.towers import DualEncoder, ImageTower, TextTower
from mmsearch.training.trainer import Batch

WIDTH, DIM, PHOTOS, BATCH = 12, 6, 200, 20


class SmallImages(ImageTower):
    dim, side, cached, key = DIM, 2, True, "small-images"

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(WIDTH, DIM)
        self.drop = nn.Dropout(0.1)

    def prepare(self, image: Image.Image) -> NDArray[Any]:
        return np.asarray(image.resize((2, 2)), np.uint8)

    def frozen(self, batch: NDArray[Any]) -> NDArray[Any]:
        return batch.reshape(len(batch), -1).astype(np.float32) / 255

    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.normalize(self.map(self.drop(features)), dim=1)


class SmallTexts(TextTower):
    dim, cached, key = DIM, False, "small-texts"

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(PHOTOS, WIDTH)
        self.map = nn.Linear(WIDTH, DIM)

    def tokenise(self, texts: Sequence[str]) -> list[list[int]]:
        return [[int(text)] for text in texts]

    def frozen(self, tokens: Sequence[Sequence[int]]) -> NDArray[Any]:
        raise AssertionError("nothing is frozen")

    def forward(self, features: Tensor | Sequence[Sequence[int]]) -> Tensor:
        rows = torch.tensor([ids[0] for ids in features])
        return nn.functional.normalize(self.map(self.words(rows)), dim=1)


def small_model() -> DualEncoder:
    torch.manual_seed(0)
    return DualEncoder(SmallImages(), SmallTexts())


def photos() -> Tensor:
    return torch.randn(PHOTOS, WIDTH, generator=torch.Generator().manual_seed(5))


class Pairs:
    """Photo i belongs to sentence i."""

    per_epoch = PHOTOS // BATCH

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        order = np.random.default_rng((7, number)).permutation(PHOTOS)
        for step in range(start, self.per_epoch):
            chosen = order[step * BATCH : (step + 1) * BATCH]
            yield Batch(
                photos=torch.from_numpy(chosen),
                images=photos()[chosen],
                texts=[[int(i)] for i in chosen],
                owners=torch.arange(BATCH),
                step=number * self.per_epoch + step,
            )


def info_nce(model: DualEncoder, batch: Batch) -> Tensor:
    return contrastive(model.images(batch.images), model.texts(batch.texts), batch.owners, model.scale)


@torch.inference_mode()
def dev_figures(model: DualEncoder) -> dict[str, dict[str, float]]:
    images = model.images.eval()(photos()).numpy()
    texts = model.texts.eval()([[i] for i in range(PHOTOS)]).numpy()
    there, back = caption_metrics(images, texts, np.arange(PHOTOS))
    return {"text_to_image": there.to_dict(), "image_to_text": back.to_dict()}
