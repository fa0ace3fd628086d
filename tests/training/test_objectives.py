"""What training makes small: pairs, a classifier's word, and the distance from what was known."""

from __future__ import annotations

import dataclasses

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from mmsearch.training.backbone import ImageBackbone  # noqa: E402
from mmsearch.training.heads import Head  # noqa: E402
from mmsearch.training.losses import class_distillation, contrastive, max_of_hinges, sigmoid  # noqa: E402
from mmsearch.training.mini_images import TunedImages  # noqa: E402
from mmsearch.training.objectives import ClassKnowledge, Objective  # noqa: E402
from mmsearch.training.recipe import Recipe  # noqa: E402
from tests.training.networks import SIDE, blotches, random_network  # noqa: E402
from tests.training.small import Pairs, small_model  # noqa: E402

pytestmark = pytest.mark.full


@pytest.mark.parametrize("name", ["infonce", "sigmoid", "hinges"])
def test_a_recipe_names_its_loss(name: str) -> None:
    model, batch = small_model().eval(), next(Pairs().epoch(0))
    images, texts = model.images(batch.images), model.texts(batch.texts)
    expected = {
        "infonce": lambda: contrastive(images, texts, batch.owners, model.scale),
        "sigmoid": lambda: sigmoid(images, texts, batch.owners, model.scale, model.bias),
        "hinges": lambda: max_of_hinges(images, texts, batch.owners),
    }[name]()
    torch.testing.assert_close(Objective(model, Recipe(loss=name))(model, batch), expected)


def test_staying_with_what_was_known_costs_nothing_at_first_and_something_later() -> None:
    model, batch = small_model().eval(), next(Pairs().epoch(0))
    plain, keeping = Objective(model, Recipe()), Objective(model, Recipe(keep=2.0))
    torch.testing.assert_close(keeping(model, batch), plain(model, batch))
    with torch.no_grad():
        model.images.map.weight += 0.5 * torch.randn_like(model.images.map.weight)
    assert float(keeping(model, batch).detach()) > float(plain(model, batch).detach()) + 1e-3


def test_a_step_asks_for_its_own_classes_and_always_for_the_same() -> None:
    knowledge = ClassKnowledge((torch.randn(50, 8), torch.zeros(50)), torch.randn(50, 4), Recipe(classes_a_step=10))
    assert knowledge.choose(3) == knowledge.choose(3)
    assert knowledge.choose(3) != knowledge.choose(4)
    assert len(set(knowledge.choose(3))) == 10


def test_names_are_drawn_to_what_the_classifier_sees() -> None:
    torch.manual_seed(0)
    backbone = ImageBackbone(random_network(), SIDE).eval()
    tower = TunedImages(backbone, Head(backbone.feature_width, 32, 16), 2, "random")
    rows = torch.from_numpy(tower.frozen(blotches(24)))
    tower.head.center.copy_(tower.features(rows).mean(0))
    tower.head.spread.copy_(tower.features(rows).std(0) + 0.05)
    original = tower.original(rows)
    weight = 2 * torch.randn(30, original.shape[1]) / original.shape[1] ** 0.5
    names = torch.nn.Parameter(torch.randn(30, 16))
    recipe = Recipe(class_weight=1.0, mixed_weight=1.0, classes_a_step=30)
    knowledge = ClassKnowledge((weight, -(original @ weight.T).mean(0)), names, recipe)
    said = torch.softmax(original @ knowledge.weight.T + knowledge.bias, 1)
    everything = list(range(30))

    def agreement() -> float:
        classes = torch.nn.functional.normalize(names, dim=1)
        return float(class_distillation(tower.eval()(rows), classes, said, recipe.class_scale).detach())

    before = agreement()
    optimizer = torch.optim.Adam([names, *tower.head.parameters()], 3e-3)
    for step in range(30):
        optimizer.zero_grad()
        classes = torch.nn.functional.normalize(names, dim=1)
        knowledge(tower, rows, tower.features(rows), classes, everything, step).backward()
        optimizer.step()
    assert agreement() < before - 0.5


def test_a_recipe_becomes_a_schedule() -> None:
    recipe = Recipe(epochs=3, rates={"": 1e-4}, patience=2, average=0.9, seed=5, precision="bf16")
    schedule = recipe.schedule()
    for field in dataclasses.fields(schedule):
        if hasattr(recipe, field.name):
            assert getattr(schedule, field.name) == getattr(recipe, field.name)
