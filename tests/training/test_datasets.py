"""Captioned photos as they lie on disk, and the ways in which training looks at them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mmsearch.training.datasets import join, photo_view, read_captions, read_photo


def test_captions_find_their_photos_in_the_order_of_the_table(tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    table.write_text(
        'image,caption,sound\nb.jpg,"A dog, wet.",x.ogg\na.jpg, A cat. ,\nb.jpg,A hound.,\n', encoding="utf-8"
    )
    photos = read_captions(table, tmp_path / "images")
    assert photos.photos == (tmp_path / "images" / "b.jpg", tmp_path / "images" / "a.jpg")
    assert photos.captions == ("A dog, wet.", "A cat.", "A hound.")
    assert photos.owners.tolist() == [0, 1, 0]


def test_joined_sets_keep_captions_with_their_photos(tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    table.write_text("image,caption\na.jpg,A cat.\nb.jpg,A dog.\n", encoding="utf-8")
    both = join([read_captions(table, tmp_path / "x"), read_captions(table, tmp_path / "y")])
    assert [str(both.photos[owner].relative_to(tmp_path)) for owner in both.owners] == [
        "x/a.jpg",
        "x/b.jpg",
        "y/a.jpg",
        "y/b.jpg",
    ]
    assert both.captions == ("A cat.", "A dog.") * 2


def test_transparent_pictures_stand_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert read_photo(tmp_path / "clear.png").getpixel((0, 0)) == (255, 255, 255)


def test_views_are_the_photo_its_mirror_image_and_repeatable_crops() -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 255, (60, 90, 3), dtype=np.uint8))
    views = [photo_view(image, 32, view, (0, 7)) for view in range(4)]
    assert all(view.shape == (32, 32, 3) and view.dtype == np.uint8 for view in views)
    np.testing.assert_array_equal(views[0][:, ::-1], views[1])
    np.testing.assert_array_equal(views[2], photo_view(image, 32, 2, (0, 7)))
    assert not np.array_equal(views[2], views[3])
    assert not np.array_equal(views[2], photo_view(image, 32, 2, (0, 8)))
