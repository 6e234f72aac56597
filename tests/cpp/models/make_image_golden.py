"""Writes image_golden.h: what Pillow, transformers and diffusers compute, for test_pixels.cpp and others.

    python tests/cpp/models/make_image_golden.py > tests/cpp/models/image_golden.h

Results are kept as hashes of their bytes; `hash_pixels` below restates models/pixels.cpp.
"""

from __future__ import annotations

import numpy as np
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
from numpy.typing import NDArray
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

MASK = 2**64 - 1
PRIME = 0x9FB21C651E98DF25
FILTERS = (("kBicubic", Image.Resampling.BICUBIC), ("kLanczos", Image.Resampling.LANCZOS))
# Up, down, mixed, one side kept, and both orders of the passes.
RESIZES = (
    (48, 48, 96, 96), (64, 64, 16, 24), (17, 31, 40, 9), (31, 17, 9, 40), (50, 20, 50, 33), (20, 50, 7, 50),
    (33, 21, 33, 21), (97, 61, 53, 47), (16, 90, 12, 11), (90, 16, 11, 12), (1, 1, 5, 3), (40, 30, 1, 1),
)  # fmt: skip
SIZES = (
    (48, 48), (40, 56), (24, 24), (8, 8), (1000, 700), (1920, 1080), (31, 4000), (3000, 20), (385, 383), (72, 104),
)  # fmt: skip
LIMITS = ((16, 2304, 2304), (32, 65536, 147456), (28, 3136, 1003520))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SCHEDULES = ((1, 9), (4, 9), (4, 4096), (8, 256), (28, 4301), (50, 16384))


def mix64(x: int) -> int:
    """The finaliser of splitmix64, as in core/key.h."""
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def picture(seed: int, width: int, height: int) -> NDArray[np.uint8]:
    """Random bytes that image_golden.h's reader makes as well."""
    words = [mix64(seed + i) for i in range((width * height * 3 + 7) // 8)]
    data = np.array(words, np.dtype("<u8")).view(np.uint8)
    return data[: width * height * 3].reshape(height, width, 3).copy()


def hash_pixels(data: bytes, width: int, height: int) -> int:
    """irt::rt::hash_pixels."""
    seed = mix64((width << 32) | height)
    lanes = [mix64(seed + i) for i in range(4)]
    for index in range(0, len(data), 8):
        lane = index // 8 % 4
        mixed = ((lanes[lane] ^ int.from_bytes(data[index : index + 8], "little")) * PRIME) & MASK
        lanes[lane] = mixed ^ (mixed >> 32)
    value = seed
    for lane_value in lanes:
        value = mix64(value ^ lane_value)
    return value


def table(kind: str, name: str, rows: list[str]) -> None:
    print(f"inline constexpr {kind} {name}[] = {{")
    for row in rows:
        print(f"    {{{row}}},")
    print("};\n")


def resizes() -> list[str]:
    rows: list[str] = []
    for number, (w, h, ow, oh) in enumerate(RESIZES):
        for name, resample in FILTERS:
            out = np.asarray(Image.fromarray(picture(number, w, h)).resize((ow, oh), resample))
            rows.append(
                f"{w}, {h}, {ow}, {oh}, Filter::{name}, {hash_pixels(out.tobytes(), ow, oh):#018x}ULL"
            )
    return rows


def patches() -> list[str]:
    rows: list[str] = []
    for patch, blocks_x, blocks_y, clip in ((8, 3, 3, 0), (8, 2, 5, 1), (14, 2, 1, 1), (16, 1, 2, 0)):
        mean, std = CLIP if clip else HALF
        width, height = blocks_x * patch * 2, blocks_y * patch * 2
        processor = Qwen2VLImageProcessorPil(
            patch_size=patch, merge_size=2, image_mean=mean, image_std=std, min_pixels=1, max_pixels=10**6
        )
        image = Image.fromarray(picture(100 + len(rows), width, height))
        values = processor([image], return_tensors="np")["pixel_values"].astype("<f4")
        digest = hash_pixels(values.tobytes(), 8 * width, height)
        rows.append(f"{patch}, {width}, {height}, {'true' if clip else 'false'}, {digest:#018x}ULL")
    return rows


def schedules() -> list[str]:
    rows: list[str] = []
    for steps, tokens in SCHEDULES:
        scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
        mu = compute_empirical_mu(tokens, steps)
        scheduler.set_timesteps(steps, sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
        bits = scheduler.sigmas.numpy().astype("<f4").tobytes()
        picked = [float(scheduler.sigmas[i]).hex() for i in (0, (steps - 1) // 2, steps - 1)]
        rows.append(
            f"{steps}, {tokens}, {hash_pixels(bits * 3, 4 * (steps + 1), 1):#018x}ULL, {{{'F, '.join(picked)}F}}"
        )
    return rows


def main() -> None:
    print("// Written by make_image_golden.py; do not edit.\n#pragma once\n")
    print('#include <cstdint>\n\n#include "models/pixels.h"\n\nnamespace irt::golden {\n')
    print(
        "struct Resize {\n  int width, height, to_width, to_height;\n  Filter filter;\n  std::uint64_t hash;\n};"
    )
    table("Resize", "kResizes", resizes())
    print("struct Smart {\n  int width, height, factor, min_pixels, max_pixels, to_width, to_height;\n};")
    table("Smart", "kSmart", [
        f"{w}, {h}, {factor}, {low}, {high}, {smart_resize(h, w, factor, low, high)[1]}, "
        f"{smart_resize(h, w, factor, low, high)[0]}"
        for w, h in SIZES for factor, low, high in LIMITS
    ])  # fmt: skip
    print("struct Patches {\n  int patch, width, height;\n  bool clip;\n  std::uint64_t hash;\n};")
    table("Patches", "kPatches", patches())
    print("struct Schedule {\n  int steps, tokens;\n  std::uint64_t hash;\n  float first_middle_last[3];\n};")
    table("Schedule", "kSchedules", schedules())
    planar = VaeImageProcessor(vae_scale_factor=1).preprocess(Image.fromarray(picture(7, 32, 24))).numpy()[0]
    digest = hash_pixels(np.ascontiguousarray(planar).astype("<f4").tobytes(), 4 * 32, 24)
    print("// Of picture(7, 32, 24), through diffusers' VaeImageProcessor.")
    print(f"inline constexpr std::uint64_t kPlanar = {digest:#018x}ULL;\n")
    print("}  // namespace irt::golden")


if __name__ == "__main__":
    main()
