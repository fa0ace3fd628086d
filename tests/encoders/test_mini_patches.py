"""What the built-in model's image tower yields beside an embedding, against its inner maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch.encoders.mini import MODELS, MiniEncoder
from mmsearch.errors import EncoderError, ModelMissingError
from mmsearch.types import PatchFormat
from tests.encoders import own_mini

MAPS = {"last": "/backbone/late/late.3/Add_output_0_DequantizeLinear_Output"}
MAPS["cut"] = "/backbone/early/early.15/Add_output_0_DequantizeLinear_Output"


@pytest.fixture(scope="module")
def mini() -> MiniEncoder:
    return MiniEncoder()


@pytest.fixture(scope="module")
def photos(mini: MiniEncoder) -> list[np.ndarray]:  # type: ignore[type-arg]
    folder = Path(__file__).parents[2] / "data/samples"
    return [mini.prepare_image(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.jpg"))[:5]]


def run(photos: list[np.ndarray], *outputs: str, patches: bool = True) -> list[np.ndarray]:  # type: ignore[type-arg]
    """These tensors of the shipped graph, with its second output or without."""
    import onnx
    import onnxruntime

    model = onnx.load(str(MODELS / "mini_image.onnx"))
    if not patches:
        kept = [node for node in model.graph.node if not node.output[0].startswith("patches")]
        del model.graph.node[:], model.graph.output[1:]
        model.graph.node.extend(kept)
        del model.graph.initializer[[entry.name for entry in model.graph.initializer].index("patches.shape")]
    known = {output.name for output in model.graph.output}
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in set(outputs) - known)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    parts = [session.run(list(outputs), {"images": photo[None]}) for photo in photos]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]


def windows(cut: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """Means over three by three places at every second place; what lies outside does not count."""
    side = cut.shape[-1]
    means = [
        cut[..., max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean((2, 3))
        for y in range(0, side, 2)
        for x in range(0, side, 2)
    ]
    return np.stack(means, axis=1)


def test_it_yields_a_grid_beside_each_embedding(mini: MiniEncoder, photos: list[np.ndarray]) -> None:  # type: ignore[type-arg]
    assert mini.patches == PatchFormat(rows=9, columns=9, width=328)
    embeddings, patches = mini.encode_images_with_patches(photos)
    assert patches.shape == (5, 81, 328)
    assert patches.dtype == np.float32
    np.testing.assert_array_equal(embeddings, mini.encode_images(photos))
    _, (alone,) = mini.encode_images_with_patches(photos[3:4])
    np.testing.assert_array_equal(patches[3], alone)


def test_nothing_in_gives_nothing_out(mini: MiniEncoder) -> None:
    embeddings, patches = mini.encode_images_with_patches([])
    assert (embeddings.shape, patches.shape) == ((0, 256), (0, 81, 328))


def test_patches_lie_where_the_picture_has_them(mini: MiniEncoder) -> None:
    plain = np.full((mini.image_size, mini.image_size, 3), 120, np.uint8)
    spotted = plain.copy()
    spotted[:40, -40:] = (250, 20, 20)  # above, on the right
    _, (before, after) = mini.encode_images_with_patches([plain, spotted])
    change = np.abs(after - before).sum(axis=1).reshape(9, 9)
    assert np.unravel_index(change.argmax(), change.shape) in {(0, 8), (0, 7), (1, 8), (1, 7)}


def test_a_graph_without_patches_says_so(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    encoder = MiniEncoder(models=own_mini.save(tmp_path / "own"))
    assert encoder.patches is None
    with pytest.raises(EncoderError, match="yields no patches") as caught:
        encoder.encode_images_with_patches([np.zeros((32, 32, 3), np.uint8)])
    assert "mmsearch train" in str(caught.value.hint)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match=r"mini_image\.onnx"):
        MiniEncoder(models=tmp_path).encode_images_with_patches([])


@pytest.mark.full
def test_patches_are_the_map_before_what_learned_and_windows_of_the_one_at_the_cut(
    mini: MiniEncoder,
    photos: list[np.ndarray],  # type: ignore[type-arg]
) -> None:
    pytest.importorskip("onnx")
    last, cut = run(photos, MAPS["last"], MAPS["cut"])
    assert (last.shape, cut.shape) == ((5, 208, 9, 9), (5, 120, 17, 17))
    _, patches = mini.encode_images_with_patches(photos)
    np.testing.assert_array_equal(patches[:, :, :208], last.reshape(5, 208, 81).transpose(0, 2, 1))
    np.testing.assert_allclose(patches[:, :, 208:], windows(cut), rtol=1e-5, atol=1e-5)


@pytest.mark.full
def test_the_second_output_changes_no_bit_of_an_embedding(
    mini: MiniEncoder,
    photos: list[np.ndarray],  # type: ignore[type-arg]
) -> None:
    pytest.importorskip("onnx")
    (expected,) = run(photos, "embeddings", patches=False)
    got = np.concatenate([mini.encode_images([photo]) for photo in photos])
    np.testing.assert_array_equal(got, expected)
