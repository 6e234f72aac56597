"""Prints the tables of test_pixels.cpp: what Pillow, transformers and diffusers compute, as hashes of the bytes.

python tests/cpp/models/make_image_golden.py
"""

from __future__ import annotations

import numpy as np
from diffusers.image_processor import VaeImageProcessor
from numpy.typing import NDArray
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from interleave_rt._core import hash_pixels

LANCZOS = (
    (17, 31, 40, 9), (97, 61, 53, 47), (1, 1, 5, 3), (40, 30, 1, 1), (50, 20, 50, 33), (20, 50, 7, 50),
)  # fmt: skip
# Patch size, width, height, whether mean and deviation are CLIP's.
PATCHES = ((8, 48, 48, False), (8, 32, 80, True), (14, 56, 28, True), (16, 32, 64, False))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def picture(seed: int, width: int, height: int) -> NDArray[np.uint8]:
    """The random bytes of `picture` in image_fixture.h."""
    count = width * height * 3
    x = np.arange((count + 7) // 8, dtype=np.uint64) + np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (x ^ (x >> np.uint64(31))).view(np.uint8)[:count].reshape(height, width, 3).copy()


def digest(values: NDArray[np.generic], width: int, height: int) -> str:
    data = np.frombuffer(values.tobytes(), np.uint8).reshape(height, width, 3)
    return f"{hash_pixels(data):#018x}ULL"


def main() -> None:
    for w, h, to_w, to_h in LANCZOS:
        made = np.asarray(Image.fromarray(picture(w, w, h)).resize((to_w, to_h), Image.Resampling.LANCZOS))
        print(f"lanczos {{{w}, {h}, {to_w}, {to_h}, {digest(made, to_w, to_h)}}},")
    for patch, w, h, clip in PATCHES:
        mean, std = CLIP if clip else HALF
        processor = Qwen2VLImageProcessorPil(
            patch_size=patch, merge_size=2, image_mean=mean, image_std=std, min_pixels=1, max_pixels=10**6
        )
        values = processor([Image.fromarray(picture(h, w, h))], return_tensors="np")["pixel_values"]
        print(
            f"patches {{{patch}, {w}, {h}, {str(clip).lower()}, {digest(values.astype('<f4'), 8 * w, h)}}},"
        )
    planar = VaeImageProcessor(vae_scale_factor=1).preprocess(Image.fromarray(picture(7, 32, 24))).numpy()
    print("planar", digest(planar.astype("<f4"), 4 * 32, 24))


if __name__ == "__main__":
    main()
