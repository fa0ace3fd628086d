"""The backbone as plain convolutions: what it computes, and where it can be cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("timm")

from mmsearch.training.backbone import ImageBackbone, load_backbone  # noqa: E402
from tests.training.networks import ARCHITECTURE, SIDE, random_network  # noqa: E402

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def network() -> object:
    return random_network()


def test_features_begin_with_what_the_published_network_computes(network: object) -> None:
    backbone = ImageBackbone(network, SIDE).eval()
    images = torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = network.forward_features(backbone.pixels(images)).mean((2, 3))  # type: ignore[attr-defined]
        torch.testing.assert_close(backbone(images)[:, : backbone.width], expected, rtol=1e-3, atol=1e-4)


def test_features_go_on_with_means_deviations_and_places_at_the_cut(network: object) -> None:
    backbone = ImageBackbone(network, SIDE, grid=2).eval()
    images = torch.randint(0, 256, (1, SIDE, SIDE, 3), dtype=torch.uint8)
    with torch.inference_mode():
        features = backbone(images)[0].numpy()
        cut = backbone.early(backbone.pixels(images))[0].numpy()  # (c, 5, 5)
    assert len(features) == backbone.feature_width
    rest, channels = features[backbone.width :], len(cut)
    np.testing.assert_allclose(rest[:channels], cut.mean((1, 2)), atol=1e-4)
    deviations = np.abs(cut - cut.mean((1, 2), keepdims=True)).mean((1, 2))
    np.testing.assert_allclose(rest[channels : 2 * channels], deviations, atol=1e-4)
    places = [cut[:, y : y + 3, x : x + 3].mean((1, 2)) for y in (0, 2) for x in (0, 2)]
    np.testing.assert_allclose(rest[2 * channels :].reshape(channels, 4).T, places, atol=1e-4)


@pytest.mark.parametrize("units", [1, 3])
def test_cutting_off_the_last_units_changes_nothing(network: object, units: int) -> None:
    backbone = ImageBackbone(network, SIDE).eval()
    images = torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8)
    with torch.inference_mode():
        cut = backbone.early(backbone.pixels(images))
        last = backbone.after(backbone.before(cut, units), units)
        torch.testing.assert_close(torch.cat([last, backbone.of_cut(cut)], 1), backbone(images))


def test_a_checkpoint_of_another_network_is_refused(network: object, tmp_path: Path) -> None:
    torch.save(network.state_dict(), tmp_path / "lite0.pth")  # type: ignore[attr-defined]
    assert load_backbone(tmp_path / "lite0.pth", ARCHITECTURE, SIDE)[1].shape == (1000, 1280)
    with pytest.raises(ValueError, match="tf_efficientnet_lite2"):
        load_backbone(tmp_path / "lite0.pth", "tf_efficientnet_lite2", SIDE)
