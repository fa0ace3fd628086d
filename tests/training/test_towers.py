"""The parts that learn and what becomes of them when they are exported, on small networks with random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnx")

from mmsearch.encoders.mini import MODELS  # noqa: E402
from mmsearch.encoders.mini_text import TextTower  # noqa: E402
from mmsearch.training.backbone import ImageBackbone, load_backbone  # noqa: E402
from mmsearch.training.datasets import CaptionedPhotos  # noqa: E402
from mmsearch.training.dual_encoder import evaluate, train  # noqa: E402
from mmsearch.training.export import ImageTower, export_image_tower, export_text_tower  # noqa: E402
from mmsearch.training.features import padded, sentence_features  # noqa: E402
from mmsearch.training.heads import Head  # noqa: E402
from mmsearch.training.material import Material  # noqa: E402
from mmsearch.training.recipe import Recipe  # noqa: E402
from mmsearch.training.text_tower import SentenceTransformer  # noqa: E402
from mmsearch.training.towers import DualEncoder  # noqa: E402

pytestmark = pytest.mark.full
SIDE = 66  # every stride meets an odd side somewhere, where the padding is lopsided


@pytest.fixture(scope="module")
def network() -> object:
    import timm

    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    # Untrained activations die away or run over unless each layer's statistics are those of its input.
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    network.train()
    with torch.no_grad():
        network(torch.randn(8, 3, SIDE, SIDE))
    return network.eval()


def small_sentence_transformer() -> SentenceTransformer:
    torch.manual_seed(1)
    return SentenceTransformer(vocabulary=30522, positions=64, width=24, heads=4, inner=48, depth=2).eval()


def test_features_begin_with_what_the_published_network_computes(network: object) -> None:
    backbone = ImageBackbone(network, SIDE).eval()
    images = torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = network.forward_features(backbone.pixels(images)).mean((2, 3))
        torch.testing.assert_close(backbone(images)[:, : backbone.width], expected, rtol=1e-3, atol=1e-4)


def test_features_go_on_with_means_deviations_and_places_at_the_cut(network: object) -> None:
    backbone = ImageBackbone(network, SIDE, grid=2).eval()
    images = torch.randint(0, 256, (1, SIDE, SIDE, 3), dtype=torch.uint8)
    with torch.inference_mode():
        rest = backbone(images)[0, backbone.width :].numpy()
        cut = backbone.early(backbone.pixels(images))[0].numpy()  # (c, 5, 5)
    channels = len(cut)
    np.testing.assert_allclose(rest[:channels], cut.mean((1, 2)), atol=1e-4)
    deviations = np.abs(cut - cut.mean((1, 2), keepdims=True)).mean((1, 2))
    np.testing.assert_allclose(rest[channels : 2 * channels], deviations, atol=1e-4)
    places = [cut[:, y : y + 3, x : x + 3].mean((1, 2)) for y in (0, 2) for x in (0, 2)]
    np.testing.assert_allclose(rest[2 * channels :].reshape(channels, 4).T, places, atol=1e-4)


def test_a_checkpoint_of_another_network_is_refused(network: object, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "lite0.pth")
    assert load_backbone(tmp_path / "lite0.pth", "tf_efficientnet_lite0", SIDE)[1].shape == (1000, 1280)
    with pytest.raises(ValueError, match="tf_efficientnet_lite2"):
        load_backbone(tmp_path / "lite0.pth", "tf_efficientnet_lite2", SIDE)


def test_exported_image_towers_agree_with_the_trained_one(network: object, tmp_path: Path) -> None:
    import onnxruntime

    torch.manual_seed(0)
    backbone = ImageBackbone(network, SIDE).eval()
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (16, 6, 6, 3), dtype=np.uint8)
    photos = coarse.repeat(11, axis=1).repeat(11, axis=2)
    with torch.no_grad():
        features = backbone(torch.from_numpy(photos))
        tower = ImageTower(backbone, Head(features.shape[1], 32, 16).eval())
        expected = tower(torch.from_numpy(photos)).numpy()
    agreements = []
    for calibration in (None, photos):
        export_image_tower(tower, SIDE, tmp_path / "tower.onnx", calibration)
        session = onnxruntime.InferenceSession(str(tmp_path / "tower.onnx"), providers=["CPUExecutionProvider"])
        agreements.append((session.run(None, {"images": photos})[0] * expected).sum(axis=1).min())
    assert agreements[0] > 0.999  # convolutions in floating point, the head's matrices in eight bits
    assert agreements[1] > 0.9


def test_the_exported_text_tower_agrees_with_the_trained_one(tmp_path: Path) -> None:
    sentences, head = small_sentence_transformer(), Head(24, 32, 16, spread=torch.full((24,), 0.2)).eval()
    export_text_tower(sentences, head, heads=4, limit=20, target=tmp_path / "mini_text.safetensors")
    (tmp_path / "mini_vocabulary.txt").write_bytes((MODELS / "mini_vocabulary.txt").read_bytes())
    tower = TextTower(tmp_path)
    texts = ["a dog", "two dogs on the beach", "", "espresso " * 40]
    tokens = [tower._pieces.encode(text, 20) for text in texts]
    features = torch.nn.functional.normalize(torch.from_numpy(sentence_features(sentences, tokens)), dim=1)
    with torch.inference_mode():
        expected = head(features).numpy()
    assert (tower.encode(texts) * expected).sum(axis=1).min() > 0.999


def test_padding_changes_no_sentence() -> None:
    model = small_sentence_transformer()
    tokens = [[101, 2000, 102], [101, 2000, 2001, 2002, 2003, 102]]
    with torch.inference_mode():
        together = model(*padded(tokens))
        torch.testing.assert_close(together[:1], model(*padded(tokens[:1])), rtol=1e-4, atol=1e-5)


def test_both_stages_bring_photos_and_their_captions_together(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 8, 64)
    features = torch.from_numpy(np.abs(rng.standard_normal((8, 32)))[kinds].astype(np.float32)).clamp(0, 6)
    features += 0.02 * torch.randn(64, 32)
    photos = CaptionedPhotos(tuple(Path(f"{i}.jpg") for i in range(64)), ("",) * 128, np.arange(128) % 64)
    tokens = [[101, 2000 + int(kinds[i % 64]), 3000 + i % 3, 102] for i in range(128)]
    recipe = Recipe(dim=16, hidden=32, dropout=0.1, batch=16, epochs=12, tuned_epochs=2, tuned_layers=1, rate=3e-3)
    model = DualEncoder(recipe, features, small_sentence_transformer())
    words = model.sentences.words.weight.clone()
    classifier = (0.1 * torch.randn(40, 32), torch.zeros(40))
    material = Material(photos, (features, features), tokens, classifier, [[101, 5000 + i, 102] for i in range(40)])
    before = evaluate(model.eval(), features, tokens, photos.owners)
    train(model, material, 1, tmp_path / "sentences.npy")
    between = evaluate(model, features, tokens, photos.owners)
    last = model.sentences.layers[-1].up.weight.detach().clone()
    first = model.sentences.layers[0].up.weight.detach().clone()
    train(model, material, 2, tmp_path / "sentences.npy")
    after = evaluate(model, features, tokens, photos.owners)
    # Photos of one kind cannot be told apart; ten places hold nearly all of them.
    assert before["text_to_image"]["recall@10"] < 0.4 < 0.6 < between["text_to_image"]["recall@10"]
    assert after["text_to_image"]["recall@10"] > 0.6
    assert not torch.equal(model.sentences.layers[-1].up.weight, last)
    assert torch.equal(model.sentences.layers[0].up.weight, first)
    assert torch.equal(model.sentences.words.weight, words)
