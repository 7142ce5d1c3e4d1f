"""An image reads the same whatever file it comes in, and what cannot be read is one sentence."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nasforge.errors import DataError
from nasforge.tasks.preprocessing import image_size, to_pixels

RGB = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
GREY = RGB[..., 0]


def save(path: Path, image: Any, **options: Any) -> Path:
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def is_refused(path: Path, read: Callable[[], object]) -> bool:
    """Say whether a file is refused, which must be by an error that names it; all others pass on."""
    try:
        read()
    except DataError as error:
        if str(path) not in str(error):
            raise AssertionError(f"{error} does not name {path}") from error
        return True
    return False


def mode_of(path: Path) -> str:
    with Image.open(path) as opened:
        return opened.mode


def test_colour_comes_back_as_it_was_written(tmp_path: Path) -> None:
    assert np.array_equal(to_pixels(save(tmp_path / "a.png", RGB)), RGB)


def test_grey_is_repeated_in_three_channels(tmp_path: Path) -> None:
    assert np.array_equal(to_pixels(save(tmp_path / "a.png", GREY)), np.repeat(GREY[..., None], 3, axis=2))


def test_sixteen_bit_grey_keeps_its_upper_bits_instead_of_clipping(tmp_path: Path) -> None:
    deep = GREY.astype(np.uint16) * 257
    path = save(tmp_path / "a.png", Image.fromarray(deep))
    assert mode_of(path).startswith("I")
    assert np.array_equal(to_pixels(path)[..., 1], GREY)


def test_a_palette_gives_its_colours_and_not_its_indices(tmp_path: Path) -> None:
    picture = Image.fromarray(RGB).quantize(16)
    assert np.array_equal(to_pixels(save(tmp_path / "a.png", picture)), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("transparency", [0, b"\x00\x80\xff"])
def test_transparency_is_dropped_without_a_warning(tmp_path: Path, transparency: Any) -> None:
    picture = Image.fromarray(RGB).quantize(16)
    path = save(tmp_path / "a.png", picture, transparency=transparency)
    assert np.array_equal(to_pixels(path), np.asarray(picture.convert("RGB")))
    layered = np.dstack([RGB, GREY])
    assert np.array_equal(to_pixels(save(tmp_path / "b.png", layered)), RGB)


def test_grey_with_transparency_and_one_bit_images_read(tmp_path: Path) -> None:
    grey_alpha = Image.merge("LA", (Image.fromarray(GREY), Image.fromarray(RGB[..., 1])))
    assert np.array_equal(to_pixels(save(tmp_path / "a.png", grey_alpha))[..., 2], GREY)
    bits = Image.fromarray(GREY).convert("1")
    assert set(np.unique(to_pixels(save(tmp_path / "b.png", bits))).tolist()) == {0, 255}


def test_cmyk_reads_as_nearly_the_colours_it_was_made_from(tmp_path: Path) -> None:
    flat = np.full((16, 16, 3), (200, 60, 30), dtype=np.uint8)
    path = save(tmp_path / "a.jpg", Image.fromarray(flat).convert("CMYK"), quality=100)
    assert mode_of(path) == "CMYK"
    assert np.abs(to_pixels(path).astype(int) - flat).max() < 6


def test_floating_point_pixels_are_refused_for_their_range_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="floating-point"):
        to_pixels(save(tmp_path / "a.tif", Image.fromarray(GREY.astype(np.float32) / 255)))


def test_the_first_frame_of_an_animation_is_taken(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8), value, dtype=np.uint8)) for value in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert np.unique(to_pixels(tmp_path / "a.gif")).tolist() == [10]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_its_camera_says(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", RGB, exif=exif)
    undo = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1), 7: lambda a: np.rot90(a, 2).transpose(1, 0, 2), 8: np.rot90,
    }  # fmt: skip
    shown = undo[orientation](RGB)
    assert np.array_equal(to_pixels(path), shown)
    assert image_size(path) == shown.shape[:2]


def test_resizing_takes_height_before_width(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", RGB)
    assert to_pixels(path, (5, 9)).shape == (5, 9, 3)
    expected = np.asarray(Image.fromarray(RGB).resize((9, 5), Image.Resampling.BILINEAR))
    assert np.array_equal(to_pixels(path, (5, 9)), expected)
    assert np.array_equal(to_pixels(RGB, (5, 9)), expected)
    assert np.array_equal(to_pixels(Image.fromarray(RGB), (5, 9)), expected)


def test_a_large_photograph_shrinks_to_nearly_what_full_decoding_gives(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 1024).astype(np.uint8)
    big = np.dstack([np.tile(ramp, (768, 1)), np.tile(ramp[:768, None], (1, 1024)), np.full((768, 1024), 90)])
    path = save(tmp_path / "a.jpg", big.astype(np.uint8), quality=95)
    with Image.open(path) as opened:
        full = np.asarray(opened.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))
    assert np.abs(to_pixels(path, (32, 32)).astype(int) - full).max() <= 4


def test_an_image_given_by_the_caller_is_left_as_it_was() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(RGB)
    picture.info["exif"] = exif.tobytes()
    to_pixels(picture, (4, 4))
    assert picture.size == (20, 12)
    assert np.array_equal(np.asarray(picture), RGB)


@pytest.mark.parametrize(
    "given",
    [
        RGB.astype(np.float32) / 255, RGB.astype(np.int64), RGB.transpose(2, 0, 1), RGB[0, 0], RGB[:0], 3, None, "",
        np.zeros((4, 4, 7), np.uint8), "nowhere.png",
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused_in_one_sentence(given: Any) -> None:
    with pytest.raises(DataError) as caught:
        to_pixels(given, (4, 4))
    assert str(caught.value).count("\n") == 0
    assert str(caught.value).endswith(".")


def test_every_truncation_of_a_file_is_refused_or_reads_whole(tmp_path: Path) -> None:
    for suffix in ("png", "jpg", "gif", "bmp", "tif", "webp"):
        whole = save(tmp_path / f"whole.{suffix}", RGB).read_bytes()
        refused = 0
        for length in range(0, len(whole), max(1, len(whole) // 60)):
            path = tmp_path / f"cut.{suffix}"
            path.write_bytes(whole[:length])
            refused += is_refused(path, lambda p=path: to_pixels(p, (8, 8)))
        assert refused > 10, suffix


def test_damaged_bytes_never_end_in_a_foreign_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for suffix in ("png", "jpg", "gif", "bmp", "tif", "webp", "ppm"):
        whole = bytearray(save(tmp_path / f"whole.{suffix}", RGB).read_bytes())
        for _ in range(60):
            damaged = bytearray(whole)
            for place in rng.integers(0, len(whole), 4):
                damaged[place] = rng.integers(256)
            path = tmp_path / f"damaged.{suffix}"
            path.write_bytes(damaged)
            for read in (lambda p=path: to_pixels(p, (8, 8)), lambda p=path: image_size(p)):
                is_refused(path, read)


def test_a_decompression_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    save(tmp_path / "a.png", RGB)
    raw = bytearray((tmp_path / "a.png").read_bytes())
    raw[16:29] = header
    raw[29:33] = struct.pack(">I", zlib.crc32(raw[12:29]))
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(raw)
    for read in (to_pixels, image_size):
        with pytest.raises(DataError, match=r"bomb\.png' unpacks to over [0-9,]+ pixels"):
            read(bomb)


def test_the_largest_image_that_pillow_accepts_with_a_warning_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.png", RGB)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", RGB.shape[0] * RGB.shape[1] - 1)
    with pytest.raises(DataError, match="unpacks"):
        to_pixels(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", RGB.shape[0] * RGB.shape[1])
    assert to_pixels(path).shape == RGB.shape
