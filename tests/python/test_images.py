from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers import picture, refused
from PIL import Image

from interleave_rt import BadRequestError
from interleave_rt.pack.images import encode_png, load_image


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A small PNG whose header promises many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_lossless_formats_keep_every_pixel(kind, tmp_path):
    pixels = picture()
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
    pixels = picture(0, 10, 10)
    assert load_image(encode_png(pixels), max_pixels=100).shape == (10, 10, 3)
    for source in (encode_png(pixels), pixels, Image.fromarray(pixels)):
        with refused(BadRequestError, "99 pixels"):
            load_image(source, max_pixels=99)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_truncated_file_is_refused_and_named(kind, share, tmp_path):
    data = encoded(Image.fromarray(picture(0, 40, 40)), kind)
    path = tmp_path / "cut.bin"
    path.write_bytes(data[: int(len(data) * share)])
    with refused(BadRequestError, "cut.bin"):
        load_image(path)


ANIMATED = [Image.new("RGB", (4, 4), (i * 90, 0, 0)) for i in range(3)]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        *(
            (b, "image bytes")
            for b in (b"", b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a", bytes(100), b"%!PS-Adobe-3.0")
        ),
        (encoded(Image.new("RGB", (4, 4)), "TIFF"), "not an image that can be read"),
        (encoded(ANIMATED[0], "GIF", save_all=True, append_images=ANIMATED[1:]), "animated"),
        (encoded(Image.fromarray(np.zeros((2, 2), np.uint16))), "I;16 pixels"),
        (np.zeros((2, 2), np.uint8), "uint8"),
        (np.zeros((2, 2, 4), np.uint8), "uint8"),
        (np.zeros((2, 2, 3)), "uint8"),
        (np.zeros((0, 2, 3), np.uint8), "uint8"),
        (Path("nothing.png"), "nothing.png cannot be read: No such file"),
        (Path("."), "cannot be read"),
        (3, "int is not an image"),
    ],
)
def test_what_is_no_picture_is_refused(source, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with refused(BadRequestError, says, hint="PNG" if "can be read" in says else ""):
        load_image(source)


def test_png_round_trip_is_exact():
    assert np.array_equal(load_image(encode_png(picture())), picture())
