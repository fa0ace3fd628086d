"""Embeddings of photos and captions go in, the numbers that training makes small come out."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["class_distillation", "contrastive", "geometry"]


def contrastive(images: Tensor, texts: Tensor, owners: Tensor, scale: Tensor | float) -> Tensor:
    """Symmetric InfoNCE (van den Oord et al., arXiv 1807.03748) for photos with several captions each.

    From text to image a caption has one right photo among the batch. From image to text each caption of a photo is
    held against those of other photos; its own other captions are masked, being right as well.

    Args:
        images: (b, dim) L2-normalised.
        texts: (m, dim) L2-normalised.
        owners: (m,) index of each text's image within the batch.
        scale: Inverse temperature.
    """
    logits = scale * texts @ images.T  # (m, b)
    text_to_image = F.cross_entropy(logits, owners)
    own = owners[:, None] == torch.arange(len(images), device=owners.device)  # (m, b)
    others = logits.masked_fill(own, -torch.inf).logsumexp(0)  # (b,), over the captions of other photos
    right = logits.gather(1, owners[:, None])[:, 0]  # (m,)
    image_to_text = (torch.logaddexp(right, others[owners]) - right).mean()
    return (text_to_image + image_to_text) / 2


def class_distillation(images: Tensor, classes: Tensor, probabilities: Tensor, scale: Tensor | float) -> Tensor:
    """Cross-entropy between what a classifier says of photos and what the shared space says of the classes' names.

    It carries the classifier's thousand words into the space, those too that no caption of the training photos holds.

    Args:
        images: (b, dim) L2-normalised.
        classes: (n_classes, dim) L2-normalised embeddings of the names.
        probabilities: (b, n_classes) of the classifier.
        scale: Inverse temperature.
    """
    return -(probabilities * F.log_softmax(scale * images @ classes.T, dim=1)).sum(1).mean()


def geometry(student: Tensor, teacher: Tensor, scale: float = 20.0) -> Tensor:
    """How far texts have moved in relation to each other since before training.

    The Kullback-Leibler divergence between the two distributions that each text's similarities to the others give.

    Args:
        student: (m, dim) L2-normalised embeddings.
        teacher: (m, dim') L2-normalised embeddings of the same texts by the sentence encoder as it came.
        scale: Inverse temperature of both.
    """
    own = torch.eye(len(student), dtype=torch.bool, device=student.device)
    ours = (scale * student @ student.T).masked_fill(own, -1e4)
    theirs = (scale * teacher @ teacher.T).masked_fill(own, -1e4)
    return F.kl_div(F.log_softmax(ours, 1), F.log_softmax(theirs, 1), log_target=True, reduction="batchmean")
