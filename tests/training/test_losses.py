"""The losses of training, against values worked out by hand and against loops over every pair."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from mmsearch.training.losses import (  # noqa: E402
    class_distillation,
    contrastive,
    embedding_distillation,
    geometry,
    max_of_hinges,
    sigmoid,
    similarity_distillation,
)

pytestmark = pytest.mark.full


def unit(rows: list[list[float]]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32), dim=1)


class Case:
    """A batch of any shape: images with several texts or none, in any order, some pairs neither right nor wrong."""

    def __init__(self, n_images: int, n_texts: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.images = self._rows(rng, n_images)
        self.texts = self._rows(rng, n_texts)
        self.owners = torch.from_numpy(rng.integers(0, n_images, n_texts))
        self.ignored = torch.from_numpy(rng.random((n_texts, n_images)) < 0.2)
        self.weights = torch.from_numpy(rng.uniform(0.1, 2.0, n_images))
        self.cosines = (self.texts @ self.images.T).tolist()

    @staticmethod
    def _rows(rng: np.random.Generator, count: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.from_numpy(rng.standard_normal((count, 5))), dim=1)

    def wrong(self, text: int, image: int, ignored: bool) -> bool:
        return self.owners[text] != image and not (ignored and self.ignored[text, image])


cases = st.builds(Case, st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**32 - 1))
few = settings(max_examples=40, deadline=None)


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


def test_with_one_caption_each_the_loss_is_that_of_clip() -> None:
    case = Case(6, 6, 1)
    logits = 7.0 * case.images @ case.texts.T
    there, back = (torch.nn.functional.cross_entropy(rows, torch.arange(6)) for rows in (logits, logits.T))
    assert float(contrastive(case.images, case.texts, torch.arange(6), 7.0)) == pytest.approx(float(there + back) / 2)


@given(cases, st.booleans(), st.booleans())
@few
def test_the_loss_of_pairs_equals_a_loop_over_them(case: Case, weighted: bool, ignored: bool) -> None:
    scale, total, weight = 6.0, 0.0, 0.0
    for j, i in enumerate(case.owners.tolist()):
        right = math.exp(scale * case.cosines[j][i])
        images = sum(math.exp(scale * s) for k, s in enumerate(case.cosines[j]) if case.wrong(j, k, ignored))
        texts = sum(math.exp(scale * row[i]) for k, row in enumerate(case.cosines) if case.wrong(k, i, ignored))
        share = float(case.weights[i]) if weighted else 1.0
        total -= share * (math.log(right / (right + images)) + math.log(right / (right + texts))) / 2
        weight += share
    loss = contrastive(
        case.images,
        case.texts,
        case.owners,
        scale,
        weights=case.weights if weighted else None,
        ignored=case.ignored if ignored else None,
    )
    assert float(loss) == pytest.approx(total / weight)


def test_an_image_of_weight_zero_teaches_only_as_a_negative() -> None:
    case = Case(4, 8, 2)
    case.images.requires_grad_(True)
    weights = torch.tensor([1.0, 1.0, 0.0, 1.0])
    first = contrastive(case.images, case.texts, case.owners, 5.0, weights=weights)
    kept = case.owners != 2
    only = contrastive(case.images, case.texts[kept], case.owners[kept], 5.0)
    assert float(first.detach()) != pytest.approx(float(only.detach()))  # its texts are negatives of the others
    twice = contrastive(case.images, case.texts, case.owners, 5.0, weights=2 * weights)
    assert float(twice.detach()) == pytest.approx(float(first.detach()))


def test_the_loss_is_smaller_the_better_the_pairs_fit() -> None:
    images = unit([[1, 0], [0, 1]])
    right, wrong = unit([[1, 0.1], [0.1, 1]]), unit([[0.1, 1], [1, 0.1]])
    owners = torch.tensor([0, 1])
    for loss in (
        contrastive(images, right, owners, 5.0) - contrastive(images, wrong, owners, 5.0),
        sigmoid(images, right, owners, 5.0, -1.0) - sigmoid(images, wrong, owners, 5.0, -1.0),
        max_of_hinges(images, right, owners) - max_of_hinges(images, wrong, owners),
    ):
        assert float(loss) < -0.1


def test_the_sigmoid_loss_of_two_pairs_is_that_worked_out_by_hand() -> None:
    images, texts = unit([[1, 0], [0, 1]]), unit([[1, 0], [0, 1]])
    loss = sigmoid(images, texts, torch.tensor([0, 1]), 10.0, -10.0)
    # A right pair: the logit is 10 - 10. A wrong one: 0 - 10. There is one of each for each of the two texts.
    assert float(loss) == pytest.approx(math.log(2) + math.log(1 + math.exp(-10)))


@given(cases, st.booleans())
@few
def test_the_sigmoid_loss_equals_a_loop_over_pairs(case: Case, ignored: bool) -> None:
    total = 0.0
    for j, row in enumerate(case.cosines):
        for i, cosine in enumerate(row):
            if case.owners[j] == i:
                total += math.log(1 + math.exp(-(4 * cosine - 2)))
            elif case.wrong(j, i, ignored):
                total += math.log(1 + math.exp(4 * cosine - 2))
    loss = sigmoid(case.images, case.texts, case.owners, 4.0, -2.0, ignored=case.ignored if ignored else None)
    assert float(loss) == pytest.approx(total / len(case.texts))


def test_the_hinges_of_two_pairs_are_those_worked_out_by_hand() -> None:
    images, texts = unit([[1, 0], [0.6, 0.8]]), unit([[1, 0], [0, 1]])
    owners = torch.tensor([0, 1])
    # Cosines: text 0 has 1 and 0.6, text 1 has 0 and 0.8.
    by_text = [0.5 + 0.6 - 1, 0.0]
    by_image = [0.0, 0.5 + 0.6 - 0.8]
    assert float(max_of_hinges(images, texts, owners, 0.5)) == pytest.approx((sum(by_text) + sum(by_image)) / 2)


@given(cases, st.sampled_from(["hardest", "all", "semi-hard"]), st.booleans(), st.floats(0.05, 0.8))
@few
def test_the_hinges_equal_a_loop_over_triplets(case: Case, negatives: str, ignored: bool, margin: float) -> None:
    total = 0.0
    for j, i in enumerate(case.owners.tolist()):
        right = 1 - case.cosines[j][i]
        images = [1 - s for k, s in enumerate(case.cosines[j]) if case.wrong(j, k, ignored)]
        texts = [1 - row[i] for k, row in enumerate(case.cosines) if case.wrong(k, i, ignored)]
        for distances in filter(None, (images, texts)):
            hinges = [max(0.0, margin + right - wrong) for wrong in distances]
            if negatives == "hardest":
                total += max(hinges)
            elif negatives == "all":
                total += sum(hinges)
            else:
                further = [wrong for wrong in distances if wrong > right]
                total += max(0.0, margin + right - (min(further) if further else max(distances)))
    loss = max_of_hinges(
        case.images,
        case.texts,
        case.owners,
        margin,
        negatives=negatives,
        ignored=case.ignored if ignored else None,
    )
    assert float(loss) == pytest.approx(total / len(case.texts), abs=1e-9)


def test_a_batch_of_one_image_has_no_negatives_and_no_gradient() -> None:
    for loss in (
        lambda x, y, o: contrastive(x, y, o, 20.0),
        lambda x, y, o: max_of_hinges(x, y, o),
        lambda x, y, o: max_of_hinges(x, y, o, negatives="semi-hard"),
    ):
        images, texts = unit([[1, 2]]).requires_grad_(True), unit([[2, 1], [1, 0]]).requires_grad_(True)
        value = loss(images, texts, torch.tensor([0, 0]))
        assert float(value.detach()) == 0.0
        value.backward()
        assert not images.grad.any() and not texts.grad.any()


OF_PAIRS: dict[str, Callable[..., torch.Tensor]] = {
    "contrastive": lambda x, y, o, i, s: contrastive(x, y, o, s, ignored=i),
    "sigmoid": lambda x, y, o, i, s: sigmoid(x, y, o, s, -s / 2, ignored=i),
    "hardest": lambda x, y, o, i, s: max_of_hinges(x, y, o, ignored=i) + 0 * s,
    "all": lambda x, y, o, i, s: max_of_hinges(x, y, o, negatives="all", ignored=i) + 0 * s,
    "semi-hard": lambda x, y, o, i, s: max_of_hinges(x, y, o, negatives="semi-hard", ignored=i) + 0 * s,
    "similarities": lambda x, y, o, i, s: similarity_distillation((x, y), (x.flip(1), y.roll(1, 1)), s, 5.0),
    "classes": lambda x, y, o, i, s: class_distillation(x, y, torch.full((len(x), len(y)), 1 / len(y)), s),
    "geometry": lambda x, y, o, i, s: geometry(y, y.roll(1, 1)) + 0 * s + 0 * x.sum(),
}


@pytest.mark.parametrize("name", sorted(set(OF_PAIRS) - {"geometry", "similarities"}))
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    case = Case(4, 7, 3)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    given_tensors = (case.images.requires_grad_(True), case.texts.requires_grad_(True), scale)
    assert torch.autograd.gradcheck(lambda x, y, s: OF_PAIRS[name](x, y, case.owners, case.ignored, s), given_tensors)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", sorted(OF_PAIRS))
def test_half_precision_around_a_loss_leaves_it_exact_and_its_gradients_finite(name: str, half: torch.dtype) -> None:
    case = Case(5, 8, 4)
    images, texts = (rows.to(half).requires_grad_(True) for rows in (case.images, case.texts))
    scale = torch.tensor(100.0, requires_grad=True)
    everything = torch.ones_like(case.ignored)  # all pairs but the right ones are ignored: whole rows are masked
    for ignored in (None, case.ignored, everything):
        exact = OF_PAIRS[name](images.detach().double(), texts.detach().double(), case.owners, ignored, 100.0)
        with torch.autocast("cpu", dtype=half):
            loss = OF_PAIRS[name](images, texts, case.owners, ignored, scale)
        assert loss.dtype == torch.float32
        assert float(loss.detach()) == pytest.approx(float(exact), rel=1e-4, abs=1e-4)
        loss.backward()
        assert all(torch.isfinite(values.grad).all() for values in (images, texts, scale))


def test_an_embedding_that_equals_the_teachers_costs_nothing() -> None:
    teacher = unit([[1, 0], [3, 4]])
    assert float(embedding_distillation(teacher, teacher)) == pytest.approx(0.0, abs=1e-6)
    assert float(embedding_distillation(teacher, teacher, "mse")) == 0.0


def test_distances_to_a_teachers_embeddings_are_those_worked_out_by_hand() -> None:
    student, teacher = unit([[1, 0], [0, 1]]), unit([[0, 1], [3, 4]])
    assert float(embedding_distillation(student, teacher)) == pytest.approx((1 + 0.2) / 2)
    assert float(embedding_distillation(student, teacher, "mse")) == pytest.approx((2 + 0.36 + 0.04) / 4)


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 7), st.integers(0, 2**32 - 1))
@few
def test_distances_through_a_projection_equal_a_loop(count: int, width: int, wider: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    student, teacher, matrix = (
        rng.standard_normal(shape) for shape in ((count, width), (count, wider), (width, wider))
    )
    cosine = square = 0.0
    for own, wanted in zip(student @ matrix, teacher, strict=True):
        cosine += 1 - float(own @ wanted) / math.sqrt(float(own @ own) * float(wanted @ wanted))
        square += sum((a - b) ** 2 for a, b in zip(own.tolist(), wanted.tolist(), strict=True))
    project = torch.from_numpy(matrix)
    for measure, expected in (("cosine", cosine / count), ("mse", square / count / wider)):
        loss = embedding_distillation(
            torch.from_numpy(student), torch.from_numpy(teacher), measure, projection=lambda rows: rows @ project
        )
        assert float(loss) == pytest.approx(expected)


def test_widths_that_differ_need_a_projection() -> None:
    with pytest.raises(ValueError, match=r"the student's embeddings are \(2, 3\), the teacher's \(2, 4\)"):
        embedding_distillation(torch.ones(2, 3), torch.ones(2, 4))
    learned = torch.nn.Linear(3, 4)
    embedding_distillation(torch.ones(2, 3), torch.ones(2, 4), projection=learned).backward()
    assert learned.weight.grad is not None


def test_nothing_is_learned_of_a_teacher() -> None:
    teacher, student = (torch.randn(3, 4, requires_grad=True) for _ in range(2))
    (
        embedding_distillation(student, teacher)
        + geometry(student, teacher)
        + similarity_distillation((student, student), (teacher, teacher), 2.0, 3.0)
    ).backward()
    assert teacher.grad is None and student.grad is not None


def test_a_student_that_ranks_as_its_teacher_does_costs_nothing() -> None:
    case = Case(4, 6, 5)
    rotation, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    turned = (case.images @ rotation, case.texts @ rotation)
    assert float(similarity_distillation(turned, (case.images, case.texts), 9.0, 9.0)) == pytest.approx(0.0, abs=1e-9)


@given(cases, st.integers(0, 2**32 - 1))
@few
def test_the_divergence_from_a_teachers_similarities_equals_a_loop(case: Case, seed: int) -> None:
    other = Case(len(case.images), len(case.texts), seed)

    def direction(ours: np.ndarray, theirs: np.ndarray) -> float:
        total = 0.0
        for q_row, p_row in zip(np.exp(4 * ours), np.exp(7 * theirs), strict=True):
            q, p = q_row / q_row.sum(), p_row / p_row.sum()
            total += sum(a * math.log(a / b) for a, b in zip(p.tolist(), q.tolist(), strict=True))
        return total / len(ours)

    ours, theirs = np.array(case.cosines), np.array(other.cosines)
    expected = (direction(ours, theirs) + direction(ours.T, theirs.T)) / 2
    loss = similarity_distillation((case.images, case.texts), (other.images, other.texts), 4.0, 7.0)
    assert float(loss) == pytest.approx(expected, abs=1e-9)


def test_agreeing_with_the_classifier_costs_its_entropy() -> None:
    images, classes = unit([[1, 0]]), unit([[1, 0], [0, 1]])
    said = torch.softmax(3.0 * images @ classes.T, 1)
    entropy = float(-(said * said.log()).sum())
    assert float(class_distillation(images, classes, said, 3.0)) == pytest.approx(entropy)
    assert class_distillation(images, classes, said.flip(1), 3.0) > entropy


@given(cases)
@few
def test_the_cross_entropy_with_a_classifier_equals_a_loop(case: Case) -> None:
    said = torch.softmax(2 * (case.images @ case.texts.T).flip(0), 1)
    total = 0.0
    for image, row in enumerate(said.tolist()):
        powers = [math.exp(3 * texts[image]) for texts in case.cosines]
        total -= sum(p * math.log(power / sum(powers)) for p, power in zip(row, powers, strict=True))
    assert float(class_distillation(case.images, case.texts, said, 3.0)) == pytest.approx(total / len(case.images))


def test_texts_that_have_not_moved_cost_nothing() -> None:
    torch.manual_seed(0)
    texts = torch.nn.functional.normalize(torch.randn(6, 8), dim=1)
    rotation, _ = torch.linalg.qr(torch.randn(8, 8))
    assert float(geometry(texts @ rotation, texts)) == pytest.approx(0.0, abs=1e-4)
    assert geometry(texts.roll(1, 0), texts) > 0.01


def test_moved_texts_cost_the_divergence_of_their_distances() -> None:
    # Of three texts, text 0 sees the two others at cosines 0 and 0.6, with the teacher at 0.6 and 0, and so on.
    student, teacher = unit([[1, 0], [0, 1], [0.6, 0.8]]), unit([[1, 0], [0.6, 0.8], [0, 1]])
    total = 0.0
    for i in range(3):
        rows = []
        for texts in (student, teacher):
            powers = [math.exp(2 * float(texts[i] @ texts[k])) for k in range(3) if k != i]
            rows.append([power / sum(powers) for power in powers])
        total += sum(p * math.log(p / q) for q, p in zip(*rows, strict=True))
    assert float(geometry(student, teacher, 2.0)) == pytest.approx(total / 3, rel=1e-5)
