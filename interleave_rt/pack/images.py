"""Pictures from outside: decoded under limits, and nothing but 8-bit RGB afterwards."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from interleave_rt.errors import BadRequestError

if TYPE_CHECKING:
    from interleave_rt.request import ImageSource, Pixels

# Decoders that an input may reach; everything else that Pillow knows stays shut.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
MAX_PIXELS = 16_000_000
_MAX_FILE_BYTES = 64 << 20


def load_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS, name: str | None = None) -> Pixels:
    """The picture as a contiguous uint8 array [height, width, 3].

    The header's size is checked before a pixel is decoded. EXIF orientation is applied, transparency is put on
    white, animations are refused, colour profiles and metadata are dropped.

    Args:
        source: A path, encoded bytes, a Pillow image or a uint8 array.
        max_pixels: Width times height at most.
        name: How errors call it; the path by default.

    Raises:
        BadRequestError: Naming the image and what is wrong with it.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels, name or "array")
    if isinstance(source, Image.Image):
        return _flatten(_checked(source, max_pixels, name or "image"), name or "image")
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(bytes(source), max_pixels, name or "image bytes")
    if not isinstance(source, (str, os.PathLike)):
        raise BadRequestError(
            f"[image] {type(source).__name__} is not an image: pass a path, bytes or pixels"
        )
    path = Path(source)
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise BadRequestError(f"[image] {path} has more than {_MAX_FILE_BYTES >> 20} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise BadRequestError(f"[image] {path} cannot be read: {error.strerror or error}") from None
    return _decode(data, max_pixels, name or str(path))


def encode_png(pixels: Pixels, *, level: int = 6) -> bytes:
    """The pixels as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=level)
    return buffer.getvalue()


def save_png(pixels: Pixels, path: Path) -> None:
    """Writes the pixels as a PNG file."""
    path.write_bytes(encode_png(pixels))


def _decode(data: bytes, max_pixels: int, name: str) -> Pixels:
    try:
        # Pillow only warns of a bomb below twice its own limit; here the header decides, silently.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        with image:
            return _flatten(_checked(image, max_pixels, name), name)
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise BadRequestError(
            f"[image] {name} is not an image that can be read", hint=f"use {known}"
        ) from None
    except Image.DecompressionBombError:
        raise BadRequestError(f"[image] {name} has more than {max_pixels} pixels") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, MemoryError) as error:
        raise BadRequestError(f"[image] {name} is damaged: {error}") from None


def _checked(image: Image.Image, max_pixels: int, name: str) -> Image.Image:
    width, height = image.size
    if width < 1 or height < 1:
        raise BadRequestError(f"[image] {name} is empty ({width}x{height})")
    if width * height > max_pixels:
        raise BadRequestError(
            f"[image] {name} is {width}x{height}: more than {max_pixels} pixels", hint="scale it down first"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise BadRequestError(
            f"[image] {name} is animated ({frames} frames)", hint="save the frame that you mean"
        )
    return image


def _flatten(image: Image.Image, name: str) -> Pixels:
    if image.mode.startswith("I") or image.mode == "F":
        raise BadRequestError(f"[image] {name} has {image.mode} pixels", hint="save it with 8 bits a channel")
    upright = ImageOps.exif_transpose(image)
    if "A" in upright.getbands() or "transparency" in upright.info:
        layer = upright.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        upright = Image.alpha_composite(white, layer)
    return np.ascontiguousarray(upright.convert("RGB"), dtype=np.uint8)


def _from_array(array: Pixels, max_pixels: int, name: str) -> Pixels:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise BadRequestError(
            f"[image] {name} is {array.dtype}{list(array.shape)}: it must be uint8 [height, width, 3]"
        )
    if array.shape[0] * array.shape[1] > max_pixels:
        raise BadRequestError(f"[image] {name} has more than {max_pixels} pixels", hint="scale it down first")
    return np.ascontiguousarray(array)
