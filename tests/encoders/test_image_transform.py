"""What is done to a picture before an image tower reads it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmsearch.encoders.image_transform import ImageTransform
from tests.encoders.conftest import picture

MODES = ["shortest", "squash", "longest"]


def config(**changes: Any) -> dict[str, Any]:
    return {"size": 64, "mean": (0.5, 0.4, 0.3), "std": 0.25, "fill_color": 9, **changes}


@pytest.mark.full
@pytest.mark.usefixtures("needs_open_clip")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [64, (48, 80), (80, 48)])
def test_pictures_come_out_as_from_open_clips_own_transform(mode: str, interpolation: str, size: Any) -> None:
    from open_clip.transform import PreprocessCfg, image_transform_v2

    options = config(size=size, mean=(0, 0, 0), std=(1, 1, 1), interpolation=interpolation, resize_mode=mode)
    theirs = image_transform_v2(PreprocessCfg(**options), is_train=False)
    ours = ImageTransform.from_config(options)
    for pixels in ((640, 480), (480, 640), (64, 64), (33, 57), (65, 64), (200, 31), (31, 200), (1, 1), (1600, 1100)):
        image = picture(3, pixels)
        expected = theirs(image).numpy().transpose(1, 2, 0) * 255
        got = ours(image).astype(np.float64)
        assert got.shape == expected.shape
        difference = np.abs(got - expected)
        # Large pictures are shrunk by whole factors first, which no one sees but fine noise shows.
        shrunk = pixels[0] * pixels[1] > 9 * 64 * 64
        assert difference.mean() < (1.5 if shrunk else 0.5), pixels
        assert shrunk or difference.max() <= 4, pixels


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    mode=st.sampled_from(MODES),
)
def test_every_picture_comes_out_in_the_towers_size(width: int, height: int, size: tuple[int, int], mode: str) -> None:
    transform = ImageTransform.from_config(config(size=size, resize_mode=mode))
    array = transform(Image.new("RGB", (width, height), (10, 200, 30)))
    assert (array.shape, array.dtype) == ((*size, 3), np.uint8)
    if mode != "longest":
        assert (array == (10, 200, 30)).all()


def test_what_does_not_fill_the_input_is_padded_with_the_models_colour() -> None:
    array = ImageTransform.from_config(config(resize_mode="longest"))(Image.new("RGB", (200, 100), "white"))
    assert (array[:15] == 9).all()
    assert (array[-15:] == 9).all()
    assert (array[17:47] == 255).all()


def test_a_picture_that_fits_already_is_taken_as_it_is() -> None:
    image = picture(1, (64, 64))
    np.testing.assert_array_equal(ImageTransform.from_config(config())(image), np.asarray(image))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_other_colour_modes_become_rgb(mode: str) -> None:
    assert ImageTransform.from_config(config())(picture(2).convert(mode)).shape == (64, 64, 3)


def test_a_description_survives_json() -> None:
    transform = ImageTransform.from_config(config(size=[32, 64], resize_mode="squash", interpolation="random"))
    assert ImageTransform.from_config(transform.to_config()) == transform
    assert (transform.interpolation, transform.std) == ("bicubic", (0.25, 0.25, 0.25))


def test_an_unknown_resize_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="resize mode"):
        ImageTransform.from_config(config(resize_mode="stretch"))


def test_many_threads_get_what_one_gets() -> None:
    transform = ImageTransform.from_config(config())
    images = [picture(seed, (120, 90)) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(transform, images))
    for image, array in zip(images, together, strict=True):
        np.testing.assert_array_equal(transform(image), array)
