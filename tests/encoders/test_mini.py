"""The built-in model: what its towers promise, and that they are those that were trained."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmsearch.encoders.mini import MODELS, MiniEncoder
from mmsearch.encoders.mini_text import read_safetensors
from mmsearch.errors import EncoderError, ModelMissingError, UsageError
from mmsearch.protocols import Encoder
from mmsearch.training.evaluate import caption_metrics
from mmsearch.types import Modality

PROBES = Path(__file__).with_name("mini_probes.npz")
TEXTS = [
    "a dog on the beach",
    "espresso",
    "",
    "a temple in the mountains",
    "Two people, laughing.",
    "🐶 東京 café",
    "cat " * 400,
]


@pytest.fixture(scope="module")
def mini() -> MiniEncoder:
    return MiniEncoder()


def gradient(width: int, height: int) -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, 255 - x], axis=2).astype(np.uint8))


def test_it_is_an_encoder(mini: MiniEncoder) -> None:
    assert isinstance(mini, Encoder)
    assert (mini.id, mini.dim) == ("mini", 256)
    assert mini.modalities == {Modality.IMAGE, Modality.TEXT, Modality.AUDIO}


def test_texts_become_unit_vectors(mini: MiniEncoder) -> None:
    embeddings = mini.encode_texts(TEXTS)
    assert embeddings.dtype == np.float32
    assert embeddings.shape == (len(TEXTS), mini.dim)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("size", [(640, 480), (1, 1), (10_000, 20), (260, 260), (3, 2000)])
def test_images_of_any_shape_become_unit_vectors(mini: MiniEncoder, size: tuple[int, int]) -> None:
    prepared = mini.prepare_image(gradient(*size))
    assert prepared.shape == (mini.image_size, mini.image_size, 3)
    assert prepared.dtype == np.uint8
    embeddings = mini.encode_images([prepared])
    assert embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


def test_nothing_in_gives_nothing_out(mini: MiniEncoder) -> None:
    assert mini.encode_texts([]).shape == (0, mini.dim)
    assert mini.encode_images([]).shape == (0, mini.dim)


def test_the_same_input_gives_the_same_bits(mini: MiniEncoder) -> None:
    other = MiniEncoder()
    image = mini.prepare_image(gradient(300, 200))
    np.testing.assert_array_equal(mini.encode_images([image]), other.encode_images([image]))
    np.testing.assert_array_equal(mini.encode_texts(TEXTS[:3]), other.encode_texts(TEXTS[:3]))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), min_size=1, max_size=20), st.randoms())
def test_a_text_has_one_embedding_alone_or_in_any_company(mini: MiniEncoder, texts: list[str], random: object) -> None:
    together = mini.encode_texts(texts)
    backwards = mini.encode_texts(texts[::-1])[::-1]
    np.testing.assert_allclose(together, backwards, atol=1e-5)
    np.testing.assert_allclose(together[:1], mini.encode_texts(texts[:1]), atol=1e-5)


def test_an_image_has_one_embedding_alone_or_in_any_company(mini: MiniEncoder, samples: Path) -> None:
    images = [mini.prepare_image(Image.open(p).convert("RGB")) for p in sorted(samples.glob("*.jpg"))[:5]]
    images += [mini.prepare_image(gradient(20 + i, 30)) for i in range(mini.batch_size)]
    together = mini.encode_images(images)
    backwards = mini.encode_images(images[::-1])[::-1]
    np.testing.assert_allclose(together, backwards, atol=1e-5)
    for place in (0, 4, len(images) - 1):
        np.testing.assert_allclose(together[place : place + 1], mini.encode_images([images[place]]), atol=1e-5)


def test_a_long_text_is_cut_and_not_refused(mini: MiniEncoder) -> None:
    long = "a very long story about a dog " * 5000
    np.testing.assert_allclose(mini.encode_texts([long]), mini.encode_texts([long[:6000]]), atol=1e-6)


def test_texts_answer_as_the_trained_tower_did(mini: MiniEncoder) -> None:
    with np.load(PROBES) as probes:
        expected, texts = probes["text_embeddings"].astype(np.float32), probes["texts"].tolist()
    agreement = (mini.encode_texts(texts) * expected).sum(axis=1) / np.linalg.norm(expected, axis=1)
    assert agreement.min() > 0.995  # eight-bit weights against the floating point of training


def test_images_answer_as_the_trained_tower_did(mini: MiniEncoder, samples: Path) -> None:
    with np.load(PROBES) as probes:
        expected, names = probes["image_embeddings"].astype(np.float32), probes["images"].tolist()
    images = [mini.prepare_image(Image.open(samples / name).convert("RGB")) for name in names]
    agreement = (mini.encode_images(images) * expected).sum(axis=1) / np.linalg.norm(expected, axis=1)
    assert agreement.min() > 0.85  # eight-bit activations too
    assert np.median(agreement) > 0.95


def test_sample_photos_are_found_by_their_captions(mini: MiniEncoder, samples: Path) -> None:
    photos = ["cat.jpg", "coffee.jpg", "pagoda.jpg", "horses.jpg", "sunset.jpg", "owl.jpg"]
    texts = ["a cat", "espresso", "a temple", "horses", "the sun goes down", "an owl"]
    images = mini.encode_images([mini.prepare_image(Image.open(samples / p).convert("RGB")) for p in photos])
    best = (mini.encode_texts(texts) @ images.T).argmax(axis=1)
    assert np.count_nonzero(best == np.arange(len(photos))) >= 5


def test_captions_of_unseen_photos_find_them(mini: MiniEncoder, shared_data: Path) -> None:
    import csv

    with (shared_data / "flickr8k" / "dev" / "captions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["image"] for row in rows})[:200]
    captions = [(row["caption"], names.index(row["image"])) for row in rows if row["image"] in names][::5]
    folder = shared_data / "flickr8k" / "dev" / "images"
    images = mini.encode_images([mini.prepare_image(Image.open(folder / name).convert("RGB")) for name in names])
    texts = mini.encode_texts([caption for caption, _ in captions])
    text_to_image, _ = caption_metrics(images, texts, np.array([owner for _, owner in captions]))
    assert text_to_image.recall_at_10 > 0.8  # among 200 photos; 0.6 among all thousand
    assert text_to_image.recall_at_1 > 0.35


@pytest.mark.parametrize("options", [{"device": "cuda"}, {"precision": "fp16"}])
def test_it_says_where_it_cannot_run(options: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="built-in model"):
        MiniEncoder(**options)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    encoder = MiniEncoder(models=tmp_path)
    with pytest.raises(ModelMissingError, match=r"mini_text\.safetensors"):
        encoder.encode_texts(["a dog"])
    with pytest.raises(ModelMissingError, match=r"mini_image\.onnx"):
        encoder.encode_images([np.zeros((260, 260, 3), np.uint8)])


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "mini_text.safetensors").write_bytes((MODELS / "mini_text.safetensors").read_bytes()[:1000])
    with pytest.raises(ModelMissingError, match=r"mini_text\.safetensors"):
        MiniEncoder(models=tmp_path).encode_texts(["a dog"])
    (tmp_path / "mini_image.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelMissingError, match=r"mini_image\.onnx"):
        MiniEncoder(models=tmp_path).encode_images([np.zeros((260, 260, 3), np.uint8)])


def test_an_array_of_another_shape_is_an_encoder_error(mini: MiniEncoder) -> None:
    with pytest.raises(EncoderError):
        mini.encode_images([np.zeros((10, 10, 3), np.uint8)])


def test_a_text_query_loads_neither_torch_nor_onnx_runtime() -> None:
    code = (
        "import sys\n"
        "from mmsearch.encoders.mini import MiniEncoder\n"
        "MiniEncoder().encode_texts(['a dog'])\n"
        "sys.exit(bool({'torch', 'onnxruntime', 'tokenizers', 'PIL'} & set(sys.modules)))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_weights_are_mapped_and_small() -> None:
    arrays, metadata = read_safetensors(MODELS / "mini_text.safetensors")
    assert metadata["format"] == "mini-text-1"
    assert not arrays["words"].flags.writeable
    assert sum(path.stat().st_size for path in MODELS.rglob("*") if path.is_file()) < 46_000_000
