"""The losses of training, against values worked out by hand."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from mmsearch.training.losses import class_distillation, contrastive, geometry  # noqa: E402

pytestmark = pytest.mark.full


def unit(rows: list[list[float]]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32), dim=1)


def test_one_caption_each_gives_the_two_cross_entropies() -> None:
    images, texts = unit([[1, 0], [0, 1]]), unit([[1, 0], [0, 1]])
    loss = contrastive(images, texts, torch.tensor([0, 1]), 2.0)
    assert float(loss) == pytest.approx(math.log(1 + math.exp(-2)))


def test_other_captions_of_the_same_photo_are_no_negatives() -> None:
    images = unit([[1, 0], [0, 1]])
    texts = unit([[1, 0], [1, 0], [0, 1]])
    loss = contrastive(images, texts, torch.tensor([0, 0, 1]), 2.0)
    each = math.log(1 + math.exp(-2))
    # Text to image: three captions, each against one other photo. Image to text: the captions of photo 0 meet the one
    # caption of photo 1 and not each other; that of photo 1 meets both of photo 0.
    assert float(loss) == pytest.approx((each + (2 * each + math.log(1 + 2 * math.exp(-2))) / 3) / 2)


def test_the_loss_is_smaller_the_better_the_pairs_fit() -> None:
    images = unit([[1, 0], [0, 1]])
    right, wrong = unit([[1, 0.1], [0.1, 1]]), unit([[0.1, 1], [1, 0.1]])
    owners = torch.tensor([0, 1])
    assert contrastive(images, right, owners, 5.0) < contrastive(images, wrong, owners, 5.0)


def test_the_loss_of_the_pairs_has_finite_gradients() -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 8, requires_grad=True)
    texts = torch.randn(8, 8, requires_grad=True)
    contrastive(images, texts, torch.arange(4).repeat_interleave(2), 20.0).backward()
    assert images.grad is not None and texts.grad is not None
    assert torch.isfinite(images.grad).all() and torch.isfinite(texts.grad).all()


def test_agreeing_with_the_classifier_costs_its_entropy() -> None:
    images, classes = unit([[1, 0]]), unit([[1, 0], [0, 1]])
    said = torch.softmax(3.0 * images @ classes.T, 1)
    entropy = float(-(said * said.log()).sum())
    assert float(class_distillation(images, classes, said, 3.0)) == pytest.approx(entropy)
    assert class_distillation(images, classes, said.flip(1), 3.0) > entropy


def test_texts_that_have_not_moved_cost_nothing() -> None:
    torch.manual_seed(0)
    texts = torch.nn.functional.normalize(torch.randn(6, 8), dim=1)
    rotation, _ = torch.linalg.qr(torch.randn(8, 8))
    assert float(geometry(texts @ rotation, texts)) == pytest.approx(0.0, abs=1e-4)
    assert geometry(texts.roll(1, 0), texts) > 0.01
