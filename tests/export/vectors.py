"""Reference vectors for the native runtime's tests: what the libraries answer on a weights directory.

Usage: python tests/export/vectors.py WEIGHTS OUT [SEED]

Writes `OUT/vlm-ROLE-N.npz` (prompt ids with one image token an image, uint8 images, expanded ids, m-rope positions,
greedy tokens and the first and last logits of `generate`) and `OUT/generator-N.npz` (ids and mask of the text, noise,
source picture, picture of the pipeline).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from interleave_rt.export.chain import padded_tokens
from interleave_rt.export.parity import hf_generate, pipeline_image
from interleave_rt.export.samples import make_prompts, picture
from interleave_rt.export.shapes import ShapesRecipe
from interleave_rt.export.weights import Weights
from PIL import Image

_NEW_TOKENS = 20


def _collapse(ids: np.ndarray, image: int) -> np.ndarray:
    """One image token for each run of them, as the native decoder gets its prompts."""
    repeated = np.zeros(len(ids), bool)
    repeated[1:] = (ids[1:] == image) & (ids[:-1] == image)
    return ids[~repeated]


def write_vlm(weights: Weights, role: str, out: Path, seed: int) -> None:
    model, tokenizer = weights.vlm(role), weights.tokenizer()
    vision = model.config.vision_config
    side = int(vision.num_position_embeddings**0.5) * vision.patch_size
    templates = [file.read_text(encoding="utf-8") for file in weights.template_files(role).values()]
    for number, prompt in enumerate(make_prompts(model, tokenizer, templates, seed, (side, side))):
        tokens, logits = hf_generate(model, prompt, _NEW_TOKENS)
        np.savez(
            out / f"vlm-{role}-{number}.npz",
            ids=_collapse(prompt.ids, model.config.image_token_id),
            images=np.stack(prompt.images) if prompt.images else np.zeros((0, side, side, 3), np.uint8),
            expanded_ids=prompt.ids,
            positions=prompt.positions,
            pixel_values=prompt.pixel_values,
            grids=prompt.grids,
            tokens=np.array(tokens),
            first_logits=logits[0],
            last_logits=logits[-1],
        )


def write_generator(weights: Weights, out: Path, seed: int) -> None:
    recipe, pipeline = ShapesRecipe(), weights.pipeline()
    rng = np.random.default_rng(seed)
    side = recipe.image_side
    channels = pipeline.transformer.config.in_channels
    rows = side // (2 * pipeline.vae_scale_factor)
    for number in range(4):
        noise = rng.standard_normal((1, channels, rows, rows), dtype=np.float32)
        source = picture(rng, side, side) if number % 2 else None
        prompt = f"add a small green star at the top left {number}"
        ids, mask = padded_tokens(pipeline.tokenizer, prompt, recipe.max_sequence_length)
        image = pipeline_image(
            pipeline, recipe, prompt, noise, None if source is None else Image.fromarray(source)
        )
        np.savez(
            out / f"generator-{number}.npz",
            ids=ids[0],
            mask=mask[0],
            noise=noise[0]
            .reshape(channels, rows * rows)
            .T.copy(),  # tokens first, as the denoiser keeps them
            source=np.zeros((0, 0, 3), np.uint8) if source is None else source,
            image=np.round(image * 255).astype(np.uint8),
        )


def main() -> None:
    torch.set_num_threads(1)
    weights, out = Weights.find(Path(sys.argv[1])), Path(sys.argv[2])
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    print(f"reference vectors of {weights.directory}, seed {seed}")
    out.mkdir(parents=True, exist_ok=True)
    for role in ("planner", "critic"):
        write_vlm(weights, role, out, seed)
    write_generator(weights, out, seed)


if __name__ == "__main__":
    main()
