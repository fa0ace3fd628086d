"""The built-in model's towers as they learn: the same as those that ship, until they have learned."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnx")

from mmsearch.encoders.mini import MODELS, MiniEncoder  # noqa: E402
from mmsearch.errors import ModelMissingError  # noqa: E402
from mmsearch.training.backbone import ImageBackbone  # noqa: E402
from mmsearch.training.heads import Head  # noqa: E402
from mmsearch.training.mini_images import GraphImages, RefittedImages, TunedImages  # noqa: E402
from mmsearch.training.mini_texts import MiniTexts  # noqa: E402
from mmsearch.training.mini_towers import folder_towers  # noqa: E402
from tests.training.networks import SIDE, blotches, random_network, small_sentence_transformer  # noqa: E402

pytestmark = pytest.mark.full
SAMPLES = Path(__file__).parents[2] / "data/samples"
TEXTS = ["a dog on the beach", "espresso", "Zwei Hunde", "a man in a red shirt, climbing a rock " * 8]


@pytest.fixture(scope="module")
def backbone() -> ImageBackbone:
    return ImageBackbone(random_network(), SIDE).eval()


def tuned_images(backbone: ImageBackbone, units: int = 2) -> TunedImages:
    torch.manual_seed(0)
    network = copy.deepcopy(backbone)
    return TunedImages(network, Head(network.feature_width, 32, 16), units, "random").eval()


def test_towers_of_the_built_in_model_give_its_embeddings() -> None:
    dual, encoder = folder_towers(MODELS).eval(), MiniEncoder()
    photos = [Image.open(path).convert("RGB") for path in sorted(SAMPLES.glob("*.jpg"))[:4]]
    prepared = np.stack([dual.images.prepare(photo) for photo in photos])
    np.testing.assert_array_equal(prepared[0], encoder.prepare_image(photos[0]))
    with torch.inference_mode():
        images = dual.images(torch.from_numpy(dual.images.frozen(prepared))).numpy()
        texts = dual.texts(torch.from_numpy(dual.texts.frozen(dual.texts.tokenise(TEXTS)))).numpy()
        tuned = dual.texts(dual.texts.tokenise(TEXTS)).numpy()
    assert (images * encoder.encode_images(list(prepared))).sum(1).min() > 0.9999
    assert (texts * encoder.encode_texts(TEXTS)).sum(1).min() > 0.9999
    np.testing.assert_allclose(tuned, texts, atol=1e-5)


def test_only_heads_learn_until_more_is_asked_for() -> None:
    dual = folder_towers(MODELS)
    assert {name.split(".")[1] for name, _ in dual.learned() if "." in name} == {"head"}
    assert dual.texts.cached
    assert isinstance(dual.texts, MiniTexts)
    dual.texts.tune(1)
    assert not dual.texts.cached
    more = {name for name, _ in dual.learned() if name.startswith("texts.sentences.")}
    assert more and all(name.startswith("texts.sentences.layers.5.") for name in more)


@pytest.mark.parametrize("content", [None, b"", b"not a graph"])
def test_a_file_that_is_no_image_tower_is_told(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "mini_image.onnx").write_bytes(content)
    with pytest.raises(ModelMissingError, match="no image tower"):
        GraphImages(tmp_path / "mini_image.onnx")


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError):
        folder_towers(tmp_path)


def test_features_are_those_of_the_backbone_before_and_when_tuning_begins(backbone: ImageBackbone) -> None:
    tower, photos = tuned_images(backbone), blotches(3)
    rows = torch.from_numpy(tower.frozen(photos))
    with torch.inference_mode():
        expected = backbone(torch.from_numpy(photos))
        torch.testing.assert_close(tower.features(rows), expected, rtol=1e-3, atol=1e-3)
        tower.tune()
        torch.testing.assert_close(tower.features(rows), expected, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(tower.original(rows), expected[:, : backbone.width], rtol=1e-3, atol=1e-3)


def test_tuning_moves_the_last_units_alone_and_leaves_what_the_classifier_reads(backbone: ImageBackbone) -> None:
    tower = tuned_images(backbone)
    tower.tune()
    rows = torch.from_numpy(tower.frozen(blotches(3)))
    before, original = tower.features(rows).detach(), tower.original(rows)
    first = tower.backbone.late[0].units[0].conv.weight.detach().clone()
    tower(rows)[:, 0].sum().backward()
    torch.optim.SGD([p for p in tower.parameters() if p.requires_grad], 10.0).step()
    assert not torch.allclose(tower.features(rows), before)
    assert torch.equal(tower.original(rows), original)
    assert torch.equal(tower.backbone.late[0].units[0].conv.weight, first)


def test_a_tower_to_be_refitted_keeps_what_its_teacher_gives_beside_its_features() -> None:
    from mmsearch.training.export import ExportedImages, graph_of

    plain = GraphImages(MODELS / "mini_image.onnx")
    photos = np.random.default_rng(0).integers(0, 255, (2, plain.side, plain.side, 3), dtype=np.uint8)
    torch.manual_seed(0)
    network = ImageBackbone(random_network(), plain.side).eval()
    teacher = ExportedImages(network, Head(network.feature_width, 8, plain.dim)).eval()
    tower = RefittedImages(MODELS / "mini_image.onnx", graph_of(teacher, plain.side)).eval()
    rows = torch.from_numpy(tower.frozen(photos))
    with torch.inference_mode():
        torch.testing.assert_close(tower.wanted(rows), teacher(torch.from_numpy(photos)), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(tower(rows), plain(torch.from_numpy(plain.frozen(photos))), rtol=1e-4, atol=1e-5)


def test_a_settled_text_tower_gives_what_it_had_learned_and_learns_no_more() -> None:
    head = Head(24, 32, 16, spread=torch.full((24,), 0.2))
    texts = MiniTexts(small_sentence_transformer(), head, MODELS / "mini_vocabulary.txt", 20, "small").eval()
    texts.tune(1)
    with torch.no_grad():
        texts.sentences.layers[-1].up.weight += 0.1
    learned, key = texts(texts.tokenise(TEXTS)), texts.key
    texts.settle()
    assert texts.cached and texts.key != key
    assert not any(parameter.requires_grad for parameter in texts.parameters())
    features = torch.from_numpy(texts.frozen(texts.tokenise(TEXTS)))
    torch.testing.assert_close(texts(features), learned, rtol=1e-4, atol=1e-5)


def test_a_copy_of_a_tower_that_has_looked_at_photos_can_look_at_photos(backbone: ImageBackbone) -> None:
    tower, photos = tuned_images(backbone), blotches(2)
    expected = tower.frozen(photos)
    np.testing.assert_array_equal(copy.deepcopy(tower).frozen(photos), expected)


def test_sentences_of_any_length_come_back_in_their_order(tmp_path: Path) -> None:
    head = Head(24, 32, 16, spread=torch.full((24,), 0.2))
    texts = MiniTexts(small_sentence_transformer(), head, MODELS / "mini_vocabulary.txt", 20, "small").eval()
    said = ["a long sentence about two dogs and a cat", "dog", "", "two dogs"] * 40
    together = texts.frozen(texts.tokenise(said))
    for place in (0, 1, 2, 159):
        np.testing.assert_allclose(together[place], texts.frozen(texts.tokenise([said[place]]))[0], atol=1e-5)
