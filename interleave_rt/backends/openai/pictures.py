"""Pictures as they travel: PNG, in base64 where the body is JSON."""

from __future__ import annotations

import base64
import binascii
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from interleave_rt import _core
from interleave_rt.errors import BadRequestError
from interleave_rt.pack.images import encode_png, load_image

from .http import GarbledError

if TYPE_CHECKING:
    from interleave_rt.request import Pixels

__all__ = ["PngCache", "data_url", "from_base64", "from_url"]


class PngCache:
    """PNG files of the pictures that were sent last: a critic's "after" is sent again as "before" and as a source."""

    def __init__(self, places: int = 16) -> None:
        self._places = places
        self._files: OrderedDict[int, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def png(self, pixels: Pixels) -> bytes:
        """The picture as a PNG file, packed quickly rather than small."""
        pixels = np.ascontiguousarray(pixels)
        key = _core.hash_pixels(pixels)
        with self._lock:
            known = self._files.get(key)
            if known is not None:
                self._files.move_to_end(key)
                return known
        made = encode_png(pixels, level=1)
        with self._lock:
            self._files[key] = made
            while len(self._files) > self._places:
                self._files.popitem(last=False)
        return made


def data_url(png: bytes) -> str:
    """A PNG file as the URL that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def from_base64(text: Any) -> Pixels:
    """The picture in an answer's base64.

    Raises:
        GarbledError: It is none.
    """
    if not isinstance(text, str):
        raise GarbledError("the answer has no picture in base64")
    try:
        return load_image(base64.b64decode(text, validate=True), name="the answer's picture")
    except (binascii.Error, ValueError):
        raise GarbledError("the answer's picture is no base64") from None
    except BadRequestError as error:
        raise GarbledError(error.message) from None


def from_url(url: Any) -> Pixels:
    """The picture in a data URL. Nothing is fetched from elsewhere.

    Raises:
        GarbledError: The URL is none, or leads elsewhere.
    """
    head, comma, data = url.partition(",") if isinstance(url, str) else ("", "", "")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise GarbledError("the answer's picture is not in the answer, but elsewhere")
    return from_base64(data)
