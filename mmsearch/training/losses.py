"""Embeddings of pictures and texts go in, the numbers that training makes small come out.

Every function takes L2-normalised rows and works in single precision at least, also where its caller computes in half
precision: a similarity times an inverse temperature of 100 has no digits left there.

In a batch a picture may have several texts, or none: `owners` says for each text which picture it belongs to. The
texts of a picture are never held against it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "class_distillation",
    "contrastive",
    "embedding_distillation",
    "geometry",
    "max_of_hinges",
    "sigmoid",
    "similarity_distillation",
]

Negatives = Literal["hardest", "all", "semi-hard"]

# Stands for minus infinity: exp() of it is 0, and a row of nothing else has no NaN in its gradient.
_NEVER = torch.finfo(torch.float32).min


def contrastive(
    images: Tensor,
    texts: Tensor,
    owners: Tensor,
    scale: Tensor | float,
    *,
    weights: Tensor | None = None,
    ignored: Tensor | None = None,
) -> Tensor:
    """Symmetric InfoNCE with a learned temperature (CLIP; Radford et al. 2021, arXiv 2103.00020).

    With the logits l(j, i) = scale * <text j, image i>, and o(j) the image of text j, each text has the loss

        [-log softmax_i l(j, i) at i = o(j)  -  log (exp l(j, o(j)) / (exp l(j, o(j)) + sum_k exp l(k, o(j))))] / 2

    where k runs over the texts of other images: a text's siblings are right as well and are masked. The mean over the
    texts is returned. With one text each this is CLIP's loss.

    Args:
        images: (b, dim).
        texts: (m, dim).
        owners: (m,) index of each text's image within the batch.
        scale: Inverse temperature.
        weights: (b,) of the images, not negative and not all 0; each text counts as much as its image.
        ignored: (m, b) bool, pairs that are neither right nor wrong, such as a text that another image has too.
    """
    logits, own = _logits(images, texts, owners, scale)  # (m, b) both
    masked = logits if ignored is None else logits.masked_fill(ignored & ~own, _NEVER)
    text_to_image = F.cross_entropy(masked, owners, reduction="none")  # (m,)
    others = masked.masked_fill(own, _NEVER).logsumexp(0)  # (b,), over the texts of other images
    right = logits.gather(1, owners[:, None])[:, 0]  # (m,)
    image_to_text = torch.logaddexp(right, others[owners]) - right  # (m,)
    each = (text_to_image + image_to_text) / 2
    if weights is None:
        return each.mean()
    shares = weights.to(each)[owners]
    return (shares * each).sum() / shares.sum()


def sigmoid(
    images: Tensor,
    texts: Tensor,
    owners: Tensor,
    scale: Tensor | float,
    bias: Tensor | float,
    *,
    ignored: Tensor | None = None,
) -> Tensor:
    """The pairwise sigmoid loss (SigLIP; Zhai et al. 2023, arXiv 2303.15343): each pair is right or wrong by itself.

        -1/m sum_j sum_i log sigmoid(z(j, i) (scale * <text j, image i> + bias)),  z = 1 for a text's own image, else -1

    Args:
        images: (b, dim).
        texts: (m, dim).
        owners: (m,) index of each text's image within the batch.
        scale: Inverse temperature; the paper begins with 10.
        bias: The paper begins with -10, since nearly all pairs are wrong.
        ignored: (m, b) bool, pairs that are neither right nor wrong.
    """
    logits, own = _logits(images, texts, owners, scale)
    logits = logits + bias
    each = -F.logsigmoid(torch.where(own, logits, -logits))  # (m, b)
    if ignored is not None:
        each = each.masked_fill(ignored & ~own, 0.0)
    return each.sum() / len(texts)


def max_of_hinges(
    images: Tensor,
    texts: Tensor,
    owners: Tensor,
    margin: float = 0.2,
    *,
    negatives: Negatives = "hardest",
    ignored: Tensor | None = None,
) -> Tensor:
    """Triplets with the hardest negatives of the batch (VSE++; Faghri et al. 2018, arXiv 1707.05612).

        max(0, margin + d(x, y) - d(x, y-)) + max(0, margin + d(x, y) - d(x-, y)),  d = 1 - cosine

    for a text y and its image x; y- is the nearest text of another image, x- the nearest other image. The mean over
    the texts is returned, where the paper has the sum. One whose batch has no negative counts 0.

    Args:
        images: (b, dim).
        texts: (m, dim).
        owners: (m,) index of each text's image within the batch.
        margin: How much further than the right one the wrong one should be.
        negatives: ``all`` adds up the hinges of all negatives (the paper's sum of hinges); ``semi-hard`` takes the
            nearest of the negatives that are further than the right one, and the furthest where none is (FaceNet;
            Schroff et al. 2015, arXiv 1503.03832), which is kinder at the start of training.
        ignored: (m, b) bool, pairs that are neither right nor wrong.
    """
    cosines, own = _logits(images, texts, owners, 1.0)
    right = cosines.gather(1, owners[:, None])  # (m, 1)
    wrong = ~own if ignored is None else ~(own | ignored)  # (m, b)
    of_image = cosines.T[owners]  # (m, m): the texts as the image of each text sees them
    wrong_of_image = wrong.T[owners]
    return (
        _hinges(right, cosines, wrong, margin, negatives) + _hinges(right, of_image, wrong_of_image, margin, negatives)
    ).mean()


def _hinges(right: Tensor, cosines: Tensor, wrong: Tensor, margin: float, negatives: Negatives) -> Tensor:
    """(m, 1) and (m, n) cosines, (m, n) which of them are negatives -> (m,)."""
    if negatives == "all":
        return (margin + cosines - right).clamp(min=0).masked_fill(~wrong, 0.0).sum(1)
    nearest = cosines.masked_fill(~wrong, _NEVER).amax(1, keepdim=True)
    if negatives == "semi-hard":
        further = wrong & (cosines < right)
        furthest = cosines.masked_fill(~wrong, -_NEVER).amin(1, keepdim=True)
        chosen = cosines.masked_fill(~further, _NEVER).amax(1, keepdim=True)
        nearest = torch.where(further.any(1, keepdim=True), chosen, torch.where(nearest > _NEVER, furthest, nearest))
    return (margin + nearest - right).clamp(min=0)[:, 0]


def embedding_distillation(
    student: Tensor,
    teacher: Tensor,
    measure: Literal["cosine", "mse"] = "cosine",
    *,
    projection: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Draw embeddings to a teacher's (regression to its features; Romero et al. 2015, arXiv 1412.6550).

        cosine: 1/n sum_i (1 - cos(P s_i, t_i))          mse: 1/(n dim') sum_i |P s_i - t_i|^2

    Args:
        student: (n, dim).
        teacher: (n, dim') of the same pictures or texts; nothing is learned of it.
        measure: Which of the two.
        projection: P, (n, dim) -> (n, dim'), such as a `torch.nn.Linear` that learns too; needed where widths differ.
    """
    mapped = _single(student if projection is None else projection(student))
    teacher = _single(teacher.detach())
    if mapped.shape != teacher.shape:
        raise ValueError(f"the student's embeddings are {tuple(mapped.shape)}, the teacher's {tuple(teacher.shape)}")
    if measure == "mse":
        return F.mse_loss(mapped, teacher)
    return (1 - F.cosine_similarity(mapped, teacher, dim=1)).mean()


def similarity_distillation(
    student: tuple[Tensor, Tensor],
    teacher: tuple[Tensor, Tensor],
    student_scale: Tensor | float,
    teacher_scale: Tensor | float,
) -> Tensor:
    """Rank the batch as a teacher does (Hinton et al. 2015, arXiv 1503.02531, on rows of similarities).

    With p(j) = softmax_i(teacher_scale * <text j, image i>) of the teacher and q(j) that of the student:
    the mean over j of KL(p(j) || q(j)), and the same from images to texts; the mean of the two directions is returned.
    Widths of student and teacher may differ.

    Args:
        student: Images (b, dim) and texts (m, dim).
        teacher: Images (b, dim') and texts (m, dim'); nothing is learned of them.
        student_scale: Inverse temperature of the student.
        teacher_scale: Inverse temperature of the teacher.
    """
    ours = student_scale * _cosines(student[1], student[0])  # (m, b)
    theirs = (teacher_scale * _cosines(teacher[1], teacher[0])).detach()
    return (_divergence(ours, theirs) + _divergence(ours.T, theirs.T)) / 2


def class_distillation(images: Tensor, classes: Tensor, probabilities: Tensor, scale: Tensor | float) -> Tensor:
    """Cross-entropy between what a classifier says of images and what the shared space says of the classes' names.

        -1/b sum_i sum_c p(i, c) log softmax_c(scale * <image i, class c>)        (Hinton et al. 2015, arXiv 1503.02531)

    It carries the classifier's thousand words into the space, those too that no caption of the training images holds.

    Args:
        images: (b, dim).
        classes: (n_classes, dim) embeddings of the names.
        probabilities: (b, n_classes) of the classifier.
        scale: Inverse temperature.
    """
    logits = scale * _cosines(images, classes)
    return -(_single(probabilities) * F.log_softmax(logits, dim=1)).sum(1).mean()


def geometry(student: Tensor, teacher: Tensor, scale: float = 20.0) -> Tensor:
    """How far texts have moved in relation to each other since before training (Park et al. 2019, arXiv 1904.05068).

    The mean Kullback-Leibler divergence between the two distributions that each text's similarities to the others give.

    Args:
        student: (m, dim).
        teacher: (m, dim') of the same texts by the sentence encoder as it came; nothing is learned of it.
        scale: Inverse temperature of both.
    """
    own = torch.eye(len(student), dtype=torch.bool, device=student.device)
    ours = (scale * _cosines(student, student)).masked_fill(own, -1e4)
    theirs = (scale * _cosines(teacher, teacher)).masked_fill(own, -1e4)
    return _divergence(ours, theirs.detach())


def _single(values: Tensor) -> Tensor:
    """In single precision, or in double where it is so."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _cosines(rows: Tensor, columns: Tensor) -> Tensor:
    """(m, dim), (b, dim) -> (m, b), outside of any automatic half precision."""
    with torch.autocast(rows.device.type, enabled=False):
        return _single(rows) @ _single(columns).T


def _logits(images: Tensor, texts: Tensor, owners: Tensor, scale: Tensor | float) -> tuple[Tensor, Tensor]:
    """Scaled similarities (m, b), and which of them are of a text with its own image (m, b)."""
    own = owners[:, None] == torch.arange(len(images), device=owners.device)
    return scale * _cosines(texts, images), own


def _divergence(ours: Tensor, theirs: Tensor) -> Tensor:
    """Mean over the rows of KL(softmax(theirs) || softmax(ours))."""
    return F.kl_div(F.log_softmax(ours, 1), F.log_softmax(theirs, 1), log_target=True, reduction="batchmean")
