from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from interleave_rt import BadRequestError
from interleave_rt.pack.images import encode_png, load_image


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def noise(width: int = 7, height: int = 5) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def bomb(width: int, height: int) -> bytes:
    """A small PNG whose header promises many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_lossless_formats_keep_every_pixel(kind, tmp_path):
    pixels = noise()
    path = tmp_path / f"x.{kind.lower()}"
    Image.fromarray(pixels).save(path)
    for source in (path, str(path), path.read_bytes(), Image.open(path), pixels):
        assert np.array_equal(load_image(source), pixels)
    assert load_image(path).flags.c_contiguous


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF"])
def test_other_formats_are_read(kind):
    found = load_image(encoded(Image.new("RGB", (9, 6), (200, 10, 10)), kind))
    assert found.shape == (6, 9, 3)
    assert abs(int(found[2, 2, 0]) - 200) < 8


def test_transparency_is_put_on_white():
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (255, 0, 0, 255))
    assert load_image(encoded(image)).tolist() == [[[255, 255, 255], [255, 0, 0]]]
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([10, 20, 30])
    assert load_image(encoded(palette, transparency=0)).tolist() == [[[255, 255, 255]]]


def test_grey_pictures_get_three_channels():
    assert load_image(encoded(Image.new("L", (1, 1), 77))).tolist() == [[[77, 77, 77]]]


def test_exif_orientation_is_applied():
    image = Image.new("RGB", (4, 2), (0, 0, 0))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    found = load_image(encoded(image, exif=exif))
    assert found.shape == (4, 2, 3)
    assert found[0, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("width", "height"), [(5000, 5000), (60000, 60000), (2**31 - 1, 2**31 - 1), (1, 20_000_000)]
)
def test_a_bomb_is_refused_by_its_header(width, height):
    with pytest.raises(BadRequestError, match="16000000 pixels|damaged"):
        load_image(bomb(width, height))


def test_the_limit_is_inclusive_and_can_be_set():
    pixels = noise(10, 10)
    assert load_image(encode_png(pixels), max_pixels=100).shape == (10, 10, 3)
    for source in (encode_png(pixels), pixels, Image.fromarray(pixels)):
        with pytest.raises(BadRequestError, match="99 pixels"):
            load_image(source, max_pixels=99)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_truncated_file_is_refused_and_named(kind, share, tmp_path):
    data = encoded(Image.fromarray(noise(40, 40)), kind)
    path = tmp_path / "cut.bin"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BadRequestError, match=r"cut\.bin"):
        load_image(path)


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a", bytes(100), b"%!PS-Adobe-3.0 EPSF"]
)
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(BadRequestError, match="image bytes"):
        load_image(data)


def test_a_format_that_pillow_knows_but_we_do_not_is_refused():
    with pytest.raises(BadRequestError, match="not an image that can be read") as caught:
        load_image(encoded(Image.new("RGB", (4, 4)), "TIFF"))
    assert "PNG" in caught.value.hint


def test_animations_are_refused():
    frames = [Image.new("RGB", (4, 4), (i * 90, 0, 0)) for i in range(3)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(BadRequestError, match="animated"):
        load_image(data)


def test_deep_pixels_are_refused():
    with pytest.raises(BadRequestError, match="I;16 pixels"):
        load_image(encoded(Image.fromarray(np.zeros((2, 2), np.uint16))))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 2), np.uint8),
        np.zeros((2, 2, 4), np.uint8),
        np.zeros((2, 2, 3)),
        np.zeros((0, 2, 3), np.uint8),
    ],
)
def test_arrays_of_the_wrong_shape_are_refused(array):
    with pytest.raises(BadRequestError, match="uint8"):
        load_image(array)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(BadRequestError, match=r"nothing\.png cannot be read: No such file"):
        load_image(tmp_path / "nothing.png")
    with pytest.raises(BadRequestError, match="cannot be read"):
        load_image(tmp_path)
    with pytest.raises(BadRequestError, match="int is not an image"):
        load_image(3)


def test_png_round_trip_is_exact():
    assert np.array_equal(load_image(encode_png(noise())), noise())
