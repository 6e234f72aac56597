"""Seeded inputs for the checks: pictures, prompts as the roles get them, and their m-rope positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .sessions import Floats, Ints

if TYPE_CHECKING:
    from transformers import Qwen3VLForConditionalGeneration

__all__ = ["VlmPrompt", "make_prompts", "patchify", "picture"]

_REQUESTS = (
    "Draw a small red circle at the top left on a blue background, then add a large green star.",
    "Make a yellow canvas with a black ring in the center and a brown square below it.",
    "add a large orange triangle at the right",
    "Move it to the left, please.",
)


@dataclass(frozen=True, slots=True)
class VlmPrompt:
    """One prompt of a vision-language model: token ids (images expanded), positions, and the images as patches."""

    ids: Ints
    positions: Ints
    pixel_values: Floats
    grids: Ints
    images: tuple[npt.NDArray[np.uint8], ...]

    @property
    def next_position(self) -> int:
        """M-rope position of the first answer token."""
        return int(self.positions.max()) + 1


def picture(rng: np.random.Generator, height: int, width: int) -> npt.NDArray[np.uint8]:
    """A flat background with a few rectangles, uint8 [height, width, 3]."""
    image = np.empty((height, width, 3), np.uint8)
    image[:] = rng.integers(0, 256, 3)
    for _ in range(4):
        top, left = rng.integers(0, height - 8), rng.integers(0, width - 8)
        image[top : top + rng.integers(4, 16), left : left + rng.integers(4, 16)] = rng.integers(0, 256, 3)
    return image


def patchify(image: npt.NDArray[np.uint8], vision: Any) -> tuple[Floats, Ints]:
    """Pixels to patches in Qwen-VL order (merge blocks first) and the grid [1, 3]; mean and std 0.5."""
    patch, merge, frames = vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size
    height, width = image.shape[0] // patch, image.shape[1] // patch
    planar = image.astype(np.float32).transpose(2, 0, 1) / np.float32(127.5) - np.float32(1)
    blocks = planar.reshape(3, height // merge, merge, patch, width // merge, merge, patch)
    blocks = blocks.transpose(1, 4, 2, 5, 0, 3, 6)[:, :, :, :, :, None]
    repeated = np.repeat(blocks, frames, axis=5)
    values = np.ascontiguousarray(repeated.reshape(height * width, 3 * frames * patch * patch))
    return values, np.array([[1, height, width]], np.int64)


def make_prompts(
    model: Qwen3VLForConditionalGeneration,
    tokenizer: Any,
    templates: list[str],
    seed: int,
    image_sides: tuple[int, int],
) -> list[VlmPrompt]:
    """One prompt for every template and request; `<image>` in a template is an image of these sides."""
    rng = np.random.default_rng(seed)
    prompts = []
    for template in templates:
        for request in _REQUESTS:
            text = template
            for field in ("{text_input}", "{original_instruction}", "{rewritten_prompt}", "{request}"):
                text = text.replace(field, request)
            if "<image>" not in text and request == _REQUESTS[-1]:
                text = f"<image>{text}"
            prompts.append(_prompt(model, tokenizer, text, rng, image_sides))
    return prompts


def _prompt(
    model: Qwen3VLForConditionalGeneration,
    tokenizer: Any,
    text: str,
    rng: np.random.Generator,
    sides: tuple[int, int],
) -> VlmPrompt:
    import torch

    vision = model.config.vision_config
    content: list[dict[str, str]] = []
    pieces = text.split("<image>")
    for number, piece in enumerate(pieces):
        if number:
            content.append({"type": "image"})
        if piece:
            content.append({"type": "text", "text": piece})
    message = [{"role": "user", "content": content if len(pieces) > 1 else text}]
    chat = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    raw = tokenizer(chat, add_special_tokens=False).input_ids
    images = tuple(picture(rng, *sides) for _ in pieces[1:])
    patches = [patchify(image, vision) for image in images]
    tokens = sides[0] * sides[1] // (vision.patch_size * vision.spatial_merge_size) ** 2
    pad = model.config.image_token_id
    ids = np.array([t for token in raw for t in ([token] * tokens if token == pad else [token])], np.int64)
    grids = np.concatenate([grid for _, grid in patches]) if patches else np.zeros((0, 3), np.int64)
    positions, _ = model.model.get_rope_index(
        torch.from_numpy(ids)[None],
        torch.from_numpy((ids == pad).astype(np.int64))[None],
        image_grid_thw=torch.from_numpy(grids) if patches else None,
    )
    width = 3 * vision.temporal_patch_size * vision.patch_size**2
    values = np.concatenate([value for value, _ in patches]) if patches else np.zeros((0, width), np.float32)
    return VlmPrompt(ids, np.ascontiguousarray(positions[:, 0].numpy()), values, grids, images)
