"""Trained towers and the files made of them give the same embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")
pytest.importorskip("onnx")

from mmsearch.encoders.mini import MODELS, MiniEncoder  # noqa: E402
from mmsearch.encoders.mini_text import TextTower  # noqa: E402
from mmsearch.training.backbone import ImageBackbone  # noqa: E402
from mmsearch.training.export import (  # noqa: E402
    ExportedImages,
    export_image_tower,
    export_text_tower,
    replace_head,
)
from mmsearch.training.heads import Head  # noqa: E402
from mmsearch.training.mini_images import GraphImages  # noqa: E402
from mmsearch.training.mini_texts import padded  # noqa: E402
from mmsearch.training.patches import add_patches_to  # noqa: E402
from tests.training.networks import SIDE, blotches, random_network, small_sentence_transformer  # noqa: E402

pytestmark = pytest.mark.full


def run(file: Path, photos: np.ndarray, output: str = "embeddings") -> np.ndarray:  # type: ignore[type-arg]
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return np.asarray(session.run([output], {"images": photos})[0])


def test_exported_image_towers_agree_with_the_trained_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = ImageBackbone(random_network(), SIDE).eval()
    photos = blotches(16)
    with torch.no_grad():
        tower = ExportedImages(backbone, Head(backbone.feature_width, 32, 16).eval())
        expected = tower(torch.from_numpy(photos)).numpy()
        cut = backbone.early(backbone.pixels(torch.from_numpy(photos)))
        before = backbone.before(cut, 3).flatten(2).transpose(1, 2).numpy()
    agreements, places = [], []
    for calibration in (None, photos):
        export_image_tower(tower, SIDE, tmp_path / "tower.onnx", calibration)
        agreements.append((run(tmp_path / "tower.onnx", photos) * expected).sum(axis=1).min())
        found = run(tmp_path / "tower.onnx", photos, "patches")[:, :, : before.shape[2]]
        places.append(np.corrcoef(found.ravel(), before.ravel())[0, 1])
    assert agreements[0] > 0.999
    assert places[0] > 0.999
    assert places[1] > 0.6  # single channels of a network that never learned anything
    assert agreements[1] > 0.9  # convolutions and matrices in eight bits


def test_another_head_on_an_exported_tower_gives_what_that_head_gives(tmp_path: Path) -> None:
    images = GraphImages(MODELS / "mini_image.onnx")
    photos = np.random.default_rng(0).integers(0, 255, (2, images.side, images.side, 3), dtype=np.uint8)
    torch.manual_seed(0)
    features = images.frozen(photos)
    width = features.shape[1]
    head = Head(width, 40, 24, 0.0, torch.from_numpy(features.mean(0)), torch.full((width,), 2.0)).eval()
    replace_head(MODELS / "mini_image.onnx", head, tmp_path / "mini_image.onnx")
    with torch.inference_mode():
        expected = head(torch.from_numpy(features)).numpy()
    written = run(tmp_path / "mini_image.onnx", photos)
    assert written.shape == (2, 24)
    assert (written * expected).sum(axis=1).min() > 0.999
    np.testing.assert_array_equal(
        run(tmp_path / "mini_image.onnx", photos, "patches"), run(MODELS / "mini_image.onnx", photos, "patches")
    )


def test_a_tower_that_was_exported_without_patches_gets_them_with_its_next_head(tmp_path: Path) -> None:
    import onnx

    model = onnx.load(str(MODELS / "mini_image.onnx"))
    kept = [node for node in model.graph.node if not node.output[0].startswith("patches")]
    del model.graph.node[:], model.graph.output[1:]
    model.graph.node.extend(kept)
    del model.graph.initializer[[entry.name for entry in model.graph.initializer].index("patches.shape")]
    onnx.save(model, str(tmp_path / "earlier.onnx"))
    images = GraphImages(tmp_path / "earlier.onnx")
    replace_head(tmp_path / "earlier.onnx", images.head, tmp_path / "again.onnx")
    photos = np.random.default_rng(0).integers(0, 255, (2, images.side, images.side, 3), dtype=np.uint8)
    for output in ("embeddings", "patches"):
        expected = run(MODELS / "mini_image.onnx", photos, output)
        np.testing.assert_allclose(run(tmp_path / "again.onnx", photos, output), expected, atol=1e-5)


def test_a_graph_that_is_no_image_tower_gets_no_patches(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not tell which map"):
        add_patches_to(MODELS / "mini_sound.onnx")


def test_the_exported_text_tower_agrees_with_the_trained_one(tmp_path: Path) -> None:
    sentences, head = small_sentence_transformer(), Head(24, 32, 16, spread=torch.full((24,), 0.2)).eval()
    export_text_tower(sentences, head, 20, tmp_path / "mini_text.safetensors", side=SIDE, scale=20.0)
    (tmp_path / "mini_vocabulary.txt").write_bytes((MODELS / "mini_vocabulary.txt").read_bytes())
    tower = TextTower(tmp_path)
    texts = ["a dog", "two dogs on the beach", "", "espresso " * 40]
    ids, mask = padded([tower._pieces.encode(text, 20) for text in texts])
    with torch.inference_mode():
        expected = head(torch.nn.functional.normalize(sentences(ids, mask), dim=1)).numpy()
    assert (tower.encode(texts) * expected).sum(axis=1).min() > 0.999


def test_an_exported_file_says_which_photos_its_image_tower_reads(tmp_path: Path) -> None:
    export_text_tower(
        small_sentence_transformer(), Head(24, 32, 16), 20, tmp_path / "mini_text.safetensors", side=SIDE, scale=20.0
    )
    (tmp_path / "mini_vocabulary.txt").write_bytes((MODELS / "mini_vocabulary.txt").read_bytes())
    encoder = MiniEncoder(models=tmp_path)
    assert (encoder.image_size, encoder.dim) == (SIDE, 16)


def test_padding_changes_no_sentence() -> None:
    model = small_sentence_transformer()
    tokens = [[101, 2000, 102], [101, 2000, 2001, 2002, 2003, 102]]
    with torch.inference_mode():
        together = model(*padded(tokens))
        torch.testing.assert_close(together[:1], model(*padded(tokens[:1])), rtol=1e-4, atol=1e-5)


def test_equal_weights_give_equal_files(tmp_path: Path) -> None:
    head = Head(24, 32, 16)
    for number in range(6):  # the library that writes them puts metadata in any order
        export_text_tower(
            small_sentence_transformer(), head, 20, tmp_path / f"{number}.safetensors", side=SIDE, scale=20.0
        )
    assert len({(tmp_path / f"{number}.safetensors").read_bytes() for number in range(6)}) == 1
