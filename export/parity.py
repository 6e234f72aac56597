"""Exported graphs against the PyTorch models that they were exported from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .chain import GeneratorChain, VlmChain, padded_tokens
from .checks import Parity
from .samples import VlmPrompt, make_prompts, patchify, picture
from .sessions import DECODE_FILE, Floats, open_session
from .shapes import ShapesRecipe

if TYPE_CHECKING:
    from diffusers import Flux2KleinPipeline
    from transformers import Qwen3VLForConditionalGeneration

__all__ = ["generator_parity", "hf_generate", "pipeline_image", "vlm_parity"]

_RELATIVE = 1e-4  # of the reference's largest value: float32 sums in another order, over a dozen layers
_NEW_TOKENS = 24
_PROMPT = "add a small green star at the top left"


def _deviation(part: str, metric: str, actual: Floats, expected: Floats, detail: str = "") -> Parity:
    scale = max(1.0, float(np.abs(expected).max()))
    value = float(np.abs(actual - expected).max()) if actual.shape == expected.shape else float("inf")
    return Parity(part, metric, value, _RELATIVE * scale, detail)


def hf_generate(
    model: Qwen3VLForConditionalGeneration, prompt: VlmPrompt, tokens: int
) -> tuple[list[int], Floats]:
    """Greedy tokens of the library's own `generate`, with the logits that chose them, [tokens, vocab]."""
    import torch

    ids = torch.from_numpy(prompt.ids)[None]
    images: dict[str, Any] = {}
    if len(prompt.grids):
        images = {
            "pixel_values": torch.from_numpy(prompt.pixel_values),
            "image_grid_thw": torch.from_numpy(prompt.grids),
            "mm_token_type_ids": (ids == model.config.image_token_id).long(),
        }
    with torch.no_grad():
        out = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            **images,
        )
    return out.sequences[0, ids.shape[1] :].tolist(), torch.cat(out.logits).numpy()


def vlm_parity(
    role: str,
    model: Qwen3VLForConditionalGeneration,
    tokenizer: Any,
    templates: list[str],
    pack: Path,
    seed: int,
) -> list[Parity]:
    """Vision on several grids; logits and greedy tokens of whole prompts against `generate`."""
    import torch

    vision = model.config.vision_config
    block = vision.patch_size * vision.spatial_merge_size
    session = open_session(pack / role / "vision.onnx")
    rng = np.random.default_rng(seed)
    actual, expected = [], []
    for rows, columns in ((3, 3), (2, 4), (5, 2), (1, 1)):
        values, grid = patchify(picture(rng, rows * block, columns * block), vision)
        with torch.no_grad():
            reference = model.model.visual(torch.from_numpy(values), grid_thw=torch.from_numpy(grid))
        outputs = session.run(None, {"pixel_values": values, "grid_thw": grid})
        wanted = [reference.pooler_output, *reference.deepstack_features]
        got = [outputs[0], *(outputs[1] if len(outputs) > 1 else [])]
        actual += [item.ravel() for item in got]
        expected += [item.numpy().ravel() for item in wanted]
    results = [
        _deviation(f"{role}/vision", "max abs error", np.concatenate(actual), np.concatenate(expected))
    ]

    side = int(vision.num_position_embeddings**0.5) * vision.patch_size
    prompts = make_prompts(model, tokenizer, templates, seed, (side, side))
    references = [hf_generate(model, prompt, _NEW_TOKENS) for prompt in prompts]
    image = model.config.image_token_id
    results += _answers(f"{role}/decoder", VlmChain(pack / role, image, fused=False), prompts, references)
    if (pack / role / DECODE_FILE).is_file():
        part = f"{role}/{Path(DECODE_FILE).stem}"
        results += _answers(part, VlmChain(pack / role, image), prompts, references)
    return results


def _answers(
    part: str, chain: VlmChain, prompts: list[VlmPrompt], references: list[tuple[list[int], Floats]]
) -> list[Parity]:
    """Greedy answers and their logits against those of `generate`."""
    wrong, worst, count = 0, Parity(part, "max abs error of logits", 0.0, 1.0), 0
    for prompt, (tokens, logits) in zip(prompts, references, strict=True):
        ours, our_logits = chain.generate(prompt, len(tokens))
        wrong += int(ours != tokens)
        count += len(tokens)
        same = next((i for i, (a, b) in enumerate(zip(ours, tokens, strict=True)) if a != b), len(tokens))
        found = _deviation(worst.part, worst.metric, our_logits[: same + 1], logits[: same + 1])
        worst = max(worst, found, key=lambda item: item.value / item.limit)
    detail = f"{len(prompts)} prompts, {sum(len(p.grids) for p in prompts)} images, {count} tokens"
    return [worst, Parity(part, "prompts with other greedy tokens", wrong, 0, detail)]


@contextlib.contextmanager
def _small_images(pipeline: Flux2KleinPipeline) -> Iterator[None]:
    """Diffusers refuses source pictures below 64 pixels a side; the tiny canvas is smaller."""
    pipeline.image_processor.check_image_input = lambda *_, **__: None
    try:
        yield
    finally:
        del pipeline.image_processor.check_image_input


def pipeline_image(
    pipeline: Flux2KleinPipeline, recipe: ShapesRecipe, prompt: str, noise: Floats, source: Any | None
) -> Floats:
    """What diffusers makes of a prompt, given noise [1, c, rows, columns] and a source picture: [H, W, 3] in 0..1."""
    import torch

    with _small_images(pipeline):
        image = pipeline(
            prompt=prompt,
            image=source,
            latents=torch.from_numpy(noise),
            height=recipe.image_side,
            width=recipe.image_side,
            num_inference_steps=recipe.inference_steps,
            guidance_scale=1.0,
            max_sequence_length=recipe.max_sequence_length,
            text_encoder_out_layers=recipe.text_layers,
            output_type="np",
        ).images[0]
    return np.asarray(image, np.float32)


def generator_parity(
    pipeline: Flux2KleinPipeline, recipe: ShapesRecipe, pack: Path, seed: int
) -> list[Parity]:
    """Each graph against its module, and whole images (with and without a source) against the pipeline."""
    import torch
    from PIL import Image

    from .generator import generator_specs

    specs = generator_specs(pipeline, recipe.text_layers)
    chain = GeneratorChain(pack / "generator", recipe)
    rng = np.random.default_rng(seed)
    results = []
    for part, inputs in chain.sample_inputs(pipeline, rng).items():
        worst = Parity(f"generator/{part}", "max abs error", 0.0, 1.0)
        for feed in inputs:
            with torch.no_grad():
                reference = specs[part].module(*(torch.from_numpy(value) for value in feed.values())).numpy()
            found = _deviation(worst.part, worst.metric, chain.sessions[part].run(None, feed)[0], reference)
            worst = max(worst, found, key=lambda item: item.value / item.limit)
        results.append(worst)
    side, pixels = recipe.image_side, chain.token_pixels
    levels = 0
    for number in range(6):
        noise = rng.standard_normal((1, chain.channels, side // pixels, side // pixels), dtype=np.float32)
        source = picture(rng, side, side) if number % 2 else None
        prompt = f"{_PROMPT} {number}"
        expected = pipeline_image(
            pipeline, recipe, prompt, noise, None if source is None else Image.fromarray(source)
        )
        ids, mask = padded_tokens(pipeline.tokenizer, prompt, recipe.max_sequence_length)
        actual = chain.paint(ids, mask, noise, source)
        levels = max(levels, int(np.abs(actual.astype(int) - np.round(expected * 255).astype(int)).max()))
    results.append(
        Parity("generator/image", "levels of 255 beside diffusers", levels, 1, "6 images, 3 with a source")
    )
    return results
