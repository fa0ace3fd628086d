"""What the towers take is computed once, kept, found again, and dealt out in batches that a resumed run meets again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from mmsearch.errors import MediaError, StorageError  # noqa: E402
from mmsearch.training.captions import CaptionedImages  # noqa: E402
from mmsearch.training.features import CaptionInputs, DevSet, PairBatches, PhotoInputs  # noqa: E402
from mmsearch.training.sampling import BatchSampler  # noqa: E402
from mmsearch.training.towers import DualEncoder, TextTower  # noqa: E402
from tests.training.small import SmallImages, SmallTexts, small_model  # noqa: E402

pytestmark = pytest.mark.full


class CountingImages(SmallImages):
    """A tower that counts the pictures that its frozen part has looked at."""

    looked = 0

    def frozen(self, batch: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        self.looked += len(batch)
        return super().frozen(batch)


class FreshImages(SmallImages):
    """A tower with no part that stays as it is."""

    cached = False


class LengthTexts(TextTower):
    """A frozen tower whose features are the number of tokens."""

    dim, cached, key = 6, True, "lengths"

    def tokenise(self, texts: list[str]) -> list[list[int]]:  # type: ignore[override]
        return [[len(word) for word in text.split()] for text in texts]

    def frozen(self, tokens: list[list[int]]) -> np.ndarray:  # type: ignore[override, type-arg]
        return np.array([[len(ids), sum(ids)] for ids in tokens], np.float32)

    def forward(self, features: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return features


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Forty pictures, each of one colour on the left and another on the right."""
    paths = []
    rng = np.random.default_rng(0)
    for number in range(40):
        pixels = np.repeat(rng.integers(0, 255, (1, 2, 3), dtype=np.uint8), 8, axis=0).repeat(8, axis=1)
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def test_what_a_frozen_tower_gives_is_computed_once(photos: list[Path], tmp_path: Path) -> None:
    tower = CountingImages()
    first = PhotoInputs(tower, photos, 3, tmp_path / "kept").rows([5, 0], [0, 1])
    assert tower.looked == 3 * len(photos)
    again = PhotoInputs(tower, photos, 3, tmp_path / "kept").rows([5, 0], [0, 1])
    assert tower.looked == 3 * len(photos)
    assert torch.equal(first, again)


def test_other_photos_other_seeds_and_other_towers_are_looked_at_anew(photos: list[Path], tmp_path: Path) -> None:
    tower = CountingImages()
    PhotoInputs(tower, photos, 1, tmp_path / "kept")
    PhotoInputs(tower, photos[:-1], 1, tmp_path / "kept")
    PhotoInputs(tower, photos, 1, tmp_path / "kept", seed=1)
    tower.key = "another"
    PhotoInputs(tower, photos, 1, tmp_path / "kept")
    assert tower.looked == 4 * len(photos) - 1


def test_the_first_view_is_the_photo_and_the_others_are_not(photos: list[Path], tmp_path: Path) -> None:
    tower = SmallImages()
    inputs = PhotoInputs(tower, photos, 4, tmp_path / "kept")
    plain = tower.frozen(np.stack([tower.prepare(Image.open(photos[3]).convert("RGB"))]))
    np.testing.assert_allclose(inputs.rows([3], [0]).numpy(), plain, atol=1e-3)
    assert any(not np.allclose(inputs.rows([3], [view]).numpy(), plain, atol=1e-2) for view in (1, 2, 3))


def test_a_tower_that_learns_as_a_whole_looks_at_photos_each_time(photos: list[Path], tmp_path: Path) -> None:
    inputs = PhotoInputs(FreshImages(), photos, 2, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()
    assert torch.equal(inputs.rows([1, 2], [7, 0]), inputs.rows([1, 2], [7, 0]))
    views = inputs.draw(1000, np.random.default_rng(0))
    assert len(np.unique(views)) > 900  # every epoch sees other crops


def test_a_photo_that_vanishes_is_named(photos: list[Path], tmp_path: Path) -> None:
    inputs = PhotoInputs(FreshImages(), photos, 1, tmp_path / "kept")
    photos[2].unlink()
    with pytest.raises(MediaError, match=r"2\.png"):
        inputs.rows([2], [0])


def test_a_place_that_cannot_be_written_is_told(photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file")
    with pytest.raises(StorageError, match="cannot be written"):
        PhotoInputs(SmallImages(), photos, 1, tmp_path / "kept")


def test_features_of_captions_come_back_in_their_order(tmp_path: Path) -> None:
    captions = [" ".join(["word"] * (1 + 7 * i % 11)) for i in range(300)]
    inputs = CaptionInputs(LengthTexts(), captions, 1, tmp_path)
    chosen = [0, 299, 17, 4]
    assert inputs.rows(chosen, [0] * 4)[:, 0].tolist() == [len(captions[i].split()) for i in chosen]


def test_most_captions_are_drawn_as_they_are(tmp_path: Path) -> None:
    inputs = CaptionInputs(LengthTexts(), ["two dogs run along the beach"], 4, tmp_path, share=0.25)
    views = inputs.draw(4000, np.random.default_rng(0))
    assert 0.7 < np.mean(views == 0) < 0.8
    assert set(views) == {0, 1, 2, 3}


def pairs(photos: list[Path], folder: Path) -> PairBatches:
    count = len(photos)
    captioned = CaptionedImages(tuple(photos), tuple(str(i) for i in range(2 * count)), np.arange(2 * count) // 2)
    model = small_model()
    return PairBatches(
        BatchSampler(captioned, 8, 2, seed=3),
        PhotoInputs(model.images, photos, 3, folder),
        CaptionInputs(model.texts, captioned.captions, 1, folder),
    )


def test_batches_hold_photos_with_their_own_captions(photos: list[Path], tmp_path: Path) -> None:
    batches = pairs(photos, tmp_path / "kept")
    seen: list[int] = []
    for batch in batches.epoch(0):
        seen += batch.photos.tolist()
        for text, owner in zip(batch.texts, batch.owners.tolist(), strict=True):
            assert text[0] // 2 == int(batch.photos[owner])
    assert sorted(seen) == list(range(40))


def test_an_epoch_that_begins_in_the_middle_goes_on_as_the_whole_one_does(photos: list[Path], tmp_path: Path) -> None:
    batches = pairs(photos, tmp_path / "kept")
    whole, rest = list(batches.epoch(1)), list(batches.epoch(1, start=2))
    assert len(whole) == batches.per_epoch == 5
    assert [batch.step for batch in rest] == [7, 8, 9]
    for one, other in zip(whole[2:], rest, strict=True):
        assert torch.equal(one.images, other.images)
        assert one.texts == other.texts


def test_the_dev_set_is_measured_on_the_photos_as_they_are(photos: list[Path], tmp_path: Path) -> None:
    captioned = CaptionedImages(tuple(photos), tuple(str(i) for i in range(40)), np.arange(40))
    model = DualEncoder(SmallImages(), SmallTexts()).eval()
    dev = DevSet(model, captioned, tmp_path / "kept")
    images, texts = dev.embed(model)
    assert images.shape == texts.shape == (40, 6)
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-5)
    ranks = (np.diag(images @ texts.T)[:, None] <= texts @ images.T).sum(1)
    assert dev.figures(model)["text_to_image"]["recall@1"] == pytest.approx(np.mean(ranks == 1))
