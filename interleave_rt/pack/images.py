"""Pictures from outside: decoded under limits, and nothing but 8-bit RGB afterwards."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from interleave_rt.errors import BadRequestError, InterleaveError
from interleave_rt.files import read_file

if TYPE_CHECKING:
    from interleave_rt.request import ImageSource, Pixels

# Decoders that an input may reach; everything else that Pillow knows stays shut.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MAX_PIXELS = 16_000_000
_MAX_FILE_BYTES = 64 << 20
_ANIMATED = ("GIF", "WEBP", "PNG")  # of others, further pictures are not frames
_PREMULTIPLIED = {"RGBa": "RGBA", "La": "LA"}
_PROFILED = ("RGB", "RGBA", "L", "CMYK")


def load_image(
    source: ImageSource,
    *,
    max_pixels: int = MAX_PIXELS,
    sides: tuple[int, int] | None = None,
    name: str | None = None,
) -> Pixels:
    """The picture as a contiguous uint8 array [height, width, 3] that nobody else holds.

    The header's size is checked before a pixel is decoded. EXIF orientation is applied, transparency is put on white,
    colours with a profile become sRGB, 16 bits a channel become 8; animations are refused, metadata is dropped. Of a
    file that carries further pictures (MPO, as of phones) the first one is read.

    Args:
        source: A path, encoded bytes, a Pillow image or a uint8 array.
        max_pixels: Width times height at most.
        sides: Shortest and longest side that a model works on: a picture with longer ones is scaled down, its ratio
            kept; one with shorter ones, before or after that, is refused.
        name: How errors call it; the path by default.

    Raises:
        BadRequestError: Naming the image and what is wrong with it.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels, sides, name or "array")
    if isinstance(source, Image.Image):
        return _read(lambda: source, max_pixels, sides, name or "image", ours=False)
    if isinstance(source, (bytes, bytearray, memoryview)):
        data, name = bytes(source), name or "image bytes"
    elif isinstance(source, (str, os.PathLike)):
        data, name = read_file(source, _MAX_FILE_BYTES, what="image"), name or os.fspath(source)
    else:
        raise BadRequestError(
            f"[image] {type(source).__name__} is not an image: pass a path, bytes or pixels"
        )
    with ExitStack() as stack:

        def opened() -> Image.Image:
            return stack.enter_context(Image.open(io.BytesIO(data), formats=FORMATS))

        return _read(opened, max_pixels, sides, name, ours=True)


def encode_png(pixels: Pixels, *, level: int = 6) -> bytes:
    """The pixels as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=level)
    return buffer.getvalue()


def _read(
    opened: Callable[[], Image.Image],
    max_pixels: int,
    sides: tuple[int, int] | None,
    name: str,
    *,
    ours: bool,
) -> Pixels:
    """Whatever Pillow says of a picture, when it is opened or later, is an error about this picture."""
    try:
        # Pillow only warns of a bomb below twice its own limit; here the header decides, silently.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = opened()
            _check(image, max_pixels, name)
            size = _within(image.size, sides, name)
            if ours and size != image.size:
                image.draft(image.mode, size)  # a JPEG is decoded no larger than need be
            return _flatten(image, size, name)
    except InterleaveError:
        raise
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise BadRequestError(
            f"[image] {name} is not an image that can be read", hint=f"use {known}"
        ) from None
    except Image.DecompressionBombError:
        raise BadRequestError(f"[image] {name} has more than {max_pixels} pixels") from None
    except Exception as error:  # noqa: BLE001 - of any kind: decoders read what strangers have written
        said = str(error) or type(error).__name__
        raise BadRequestError(f"[image] {name} is damaged: {said}") from None


def _check(image: Image.Image, max_pixels: int, name: str) -> None:
    _check_size(image.size, max_pixels, name)
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format in _ANIMATED:
        raise BadRequestError(
            f"[image] {name} is animated ({frames} frames)", hint="save the frame that you mean"
        )


def _check_size(size: tuple[int, int], max_pixels: int, name: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise BadRequestError(f"[image] {name} is empty ({width}x{height})")
    if width * height > max_pixels:
        raise BadRequestError(
            f"[image] {name} is {width}x{height}: more than {max_pixels} pixels", hint="scale it down first"
        )


def _within(size: tuple[int, int], sides: tuple[int, int] | None, name: str) -> tuple[int, int]:
    """The size that a picture of this one gets."""
    if sides is None:
        return size
    low, high = sides
    scale = min(1.0, high / max(size))
    scaled = round(size[0] * scale), round(size[1] * scale)
    if min(scaled) < low:
        made = "" if scale == 1.0 else f", and scaled down to that it is {scaled[0]}x{scaled[1]}"
        raise BadRequestError(
            f"[image] {name} is {size[0]}x{size[1]}: this pack works on sides from {low} to {high} pixels{made}",
            hint="give a larger picture, or crop it to less of a strip",
        )
    return scaled


def _flatten(image: Image.Image, size: tuple[int, int], name: str) -> Pixels:
    image = _eight_bits(image, name)
    profile = image.info.get("icc_profile")
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif image.mode in _PREMULTIPLIED:
        image = image.convert(_PREMULTIPLIED[image.mode])
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    image = _as_srgb(image, profile)
    image = ImageOps.exif_transpose(image)
    if "A" in image.getbands():
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, layer)
    return np.array(image.convert("RGB"), dtype=np.uint8, order="C")


def _eight_bits(image: Image.Image, name: str) -> Image.Image:
    """16 bits of grey as 8, by the upper ones, as Pillow itself reads 16 bits of colour."""
    if not (image.mode.startswith("I") or image.mode == "F"):
        return image
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise BadRequestError(
            f"[image] {name} has {image.mode} pixels", hint="save it with 8 or 16 bits a channel"
        )
    made = Image.fromarray((values >> 8).astype(np.uint8))
    made.info = dict(image.info)
    return made


def _as_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The colours that the profile means; a profile that cannot be used is none."""
    if not profile or image.mode not in _PROFILED:
        return image
    from PIL import ImageCms

    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    try:
        found = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(found):
            return image
        made = ImageCms.profileToProfile(
            image.convert("RGB") if alpha else image, found, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    assert made is not None  # it is not done in place
    made.info = dict(image.info)
    if alpha:
        made.putalpha(alpha)
    return made


def _from_array(array: Pixels, max_pixels: int, sides: tuple[int, int] | None, name: str) -> Pixels:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise BadRequestError(
            f"[image] {name} is {array.dtype}{list(array.shape)}: it must be uint8 [height, width, 3]"
        )
    have = array.shape[1], array.shape[0]
    _check_size(have, max_pixels, name)
    size = _within(have, sides, name)
    if size == have:
        return np.array(array, dtype=np.uint8, order="C")  # a copy: the caller may use his own again
    scaled = Image.fromarray(np.ascontiguousarray(array)).resize(
        size, Image.Resampling.LANCZOS, reducing_gap=3.0
    )
    return np.array(scaled, dtype=np.uint8, order="C")
