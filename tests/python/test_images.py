from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers import picture, refused
from PIL import Image, ImageCms

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
        (Image.fromarray(np.full((2, 2), 1e6, np.float32)), "F pixels"),
        (Image.fromarray(np.full((2, 2), 70_000, np.int32)), "I pixels"),
        (encoded(Image.new("RGB", (4, 4)), "WEBP", save_all=True, append_images=ANIMATED[1:]), "animated"),
        (encoded(Image.new("RGB", (4, 4)), "PNG", save_all=True, append_images=ANIMATED[1:]), "animated"),
        (Image.open(io.BytesIO(encoded(Image.new("RGB", (99, 99)), "BMP")[:-99])), "damaged"),
        ("a\0b", "null byte"),
        ("\ud800", "cannot be read"),
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


def test_the_first_picture_of_a_phones_file_is_read():
    further = [Image.new("RGB", (32, 24), (0, 200, 0))]
    data = encoded(Image.new("RGB", (64, 48), (200, 0, 0)), "MPO", save_all=True, append_images=further)
    found = load_image(data)
    assert found.shape == (48, 64, 3)
    assert abs(int(found[9, 9, 0]) - 200) < 4


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "CMYK"])
def test_colours_with_a_profile_become_srgb(mode):
    # Red and green are exchanged by the profile: what is stored as red is green.
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(profile[128:132], "big")
    entries = {bytes(profile[i : i + 4]): i for i in range(132, 132 + 12 * count, 12)}
    red, green = (profile[entries[name] + 4 : entries[name] + 8] for name in (b"rXYZ", b"gXYZ"))
    profile[entries[b"rXYZ"] + 4 : entries[b"rXYZ"] + 8] = green
    profile[entries[b"gXYZ"] + 4 : entries[b"gXYZ"] + 8] = red
    profile = (
        bytes(profile)
        .replace(b"sRGB", b"mine")
        .replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))
    )
    stored = Image.new("RGB", (3, 2), (255, 0, 0)).convert(mode)
    found = load_image(encoded(stored, "JPEG" if mode == "CMYK" else "PNG", icc_profile=profile))
    assert found.shape == (2, 3, 3)
    if mode in ("RGB", "RGBA"):
        assert found[0, 0, 1] > 240
        assert found[0, 0, 0] < 15
    broken = load_image(encoded(stored, "JPEG" if mode == "CMYK" else "PNG", icc_profile=b"no profile"))
    assert broken.shape == (2, 3, 3)


def test_sixteen_bits_of_grey_and_of_colour_become_eight_alike():
    grey = np.array([[0, 255, 256, 65535]], np.uint16)
    assert load_image(encoded(Image.fromarray(grey)))[0, :, 0].tolist() == [0, 0, 1, 255]
    assert load_image(Image.fromarray(grey.astype(np.int32)))[0, :, 2].tolist() == [0, 0, 1, 255]


@pytest.mark.parametrize("mode", ["RGBa", "La", "LA", "PA", "1", "HSV", "LAB", "YCbCr"])
def test_every_mode_of_pillow_has_colours_or_is_refused(mode):
    solid = Image.new("RGBA", (2, 2), (40, 40, 40, 0))
    try:
        source = solid.convert("LA").convert("La") if mode == "La" else solid.convert(mode)
    except ValueError:
        source = solid.convert("RGB").convert(mode)
    try:
        found = load_image(source)
    except BadRequestError:
        return
    assert found.shape == (2, 2, 3)
    if mode.lower() in ("rgba", "la", "pa"):
        assert found.min() == 255  # what is transparent shows white


def test_a_closed_picture_is_refused():
    closed = Image.open(io.BytesIO(encoded(Image.new("RGB", (3, 2)))))
    closed.close()
    with refused(BadRequestError, "image is"):
        load_image(closed)


def test_an_array_that_changes_later_does_not_change_the_picture():
    pixels = picture()
    found = load_image(pixels)
    pixels[:] = 0
    assert found.any()


@pytest.mark.parametrize(
    ("size", "scaled"),
    [((400, 300), (128, 96)), ((96, 96), (96, 96)), ((128, 16), (128, 16)), ((1000, 130), (128, 17))],
)
def test_pictures_are_scaled_to_what_a_pack_works_on(size, scaled):
    image = Image.new("RGB", size, (9, 99, 200))
    for source in (image, encoded(image), encoded(image, "JPEG"), np.asarray(image)):
        found = load_image(source, sides=(16, 128))
        assert (found.shape[1], found.shape[0]) == scaled
        assert abs(int(found[3, 3, 2]) - 200) < 4
    assert image.size == size


@pytest.mark.parametrize("size", [(10, 10), (15, 90), (20, 4000), (1_000_000, 16), (1, 1)])
def test_thin_and_tiny_pictures_are_refused_by_their_header(size):
    with refused(BadRequestError, f"{size[0]}x{size[1]}: this pack works on sides from 16 to 128 pixels"):
        load_image(bomb(*size), sides=(16, 128))


def test_png_round_trip_is_exact():
    assert np.array_equal(load_image(encode_png(picture())), picture())
