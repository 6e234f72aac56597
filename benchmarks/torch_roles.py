"""The roles as a PyTorch user runs them: transformers' `generate` for planner and critic, diffusers' pipeline for images.

Greedy decoding with the library's own KV cache, `torch.inference_mode`, one request at a time. Prompts are encoded and
pictures cut into patches with this project's own code, which is quicker than the libraries' processors: the baseline
gets the benefit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from interleave_rt.export.families.qwen3_vl_proof import patchify
from interleave_rt.train.shapes.from_pack import TorchPack
from interleave_rt.train.shapes.models import TEXT_LAYERS
from numpy.typing import NDArray
from PIL import Image

from interleave_rt import Options, Pack, Request, _core
from interleave_rt.pack.images import load_image
from interleave_rt.pack.tokens import TextEncoder
from interleave_rt.roles.answers import read_plan, read_verdict
from interleave_rt.roles.base import SharedRules
from interleave_rt.wire import Verdict, WrittenPlan

Pixels = NDArray[np.uint8]


class TorchRoles(SharedRules):
    """Planner, generator and critic in PyTorch, one call at a time.

    Args:
        pack: Prompts, sizes and settings.
        models: The pack's weights as PyTorch models.
    """

    def __init__(self, pack: Pack, models: TorchPack) -> None:
        roles = pack.manifest.roles
        assert roles.planner is not None
        assert roles.critic is not None
        assert roles.generator is not None
        self._roles, self._models = roles, models
        self._texts = TextEncoder.of_pack(pack.path, pack.manifest)

    def plan(self, request: Request, max_steps: int, seed: int, retry: int) -> WrittenPlan:
        ids = self._texts.plan(request.mode, request.marked_text, len(request.images))
        inputs = [load_image(image) for image in request.images]
        return read_plan(self._answer("planner", ids, inputs, seed, retry), request.mode, max_steps)

    def judge(
        self, before: Pixels | None, after: Pixels, original_prompt: str, prompt: str, seed: int, retry: int
    ) -> Verdict | None:
        ids = self._texts.judge(original_prompt, prompt)
        pair = [np.full_like(after, 255) if before is None else before, after]
        return read_verdict(self._answer("critic", ids, pair, seed, retry))

    @torch.inference_mode()
    def _answer(self, name: str, ids: Any, images: list[Pixels], seed: int, retry: int) -> bytes:
        """What a role writes, to the end; a second try is sampled."""
        role, model = getattr(self._roles, name), getattr(self._models, name)
        mark, vision = role.architecture.image_token_id, model.config.vision_config
        sizes = vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size
        patches = [patchify(image, *sizes) for image in images]
        sizes = iter([int(grid.prod()) // vision.spatial_merge_size**2 for _, grid in patches])
        expanded = [
            t for token in ids.tolist() for t in ([token] * next(sizes) if token == mark else [token])
        ]
        tokens = torch.tensor([expanded])
        extra: dict[str, Any] = {}
        if patches:
            extra = {
                "pixel_values": torch.from_numpy(np.concatenate([values for values, _ in patches])),
                "image_grid_thw": torch.from_numpy(np.concatenate([grid for _, grid in patches])),
                "mm_token_type_ids": (tokens == mark).long(),
            }
        if retry:
            torch.manual_seed(seed & 0xFFFFFFFF)
            extra |= {"do_sample": True, "temperature": 0.7}
        out = model.generate(
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=role.generation.max_new_tokens,
            **extra,
        )
        text: str = self._models.tokenizer.decode(
            out[0, tokens.shape[1] :], skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text.encode()

    @torch.inference_mode()
    def generate(self, prompt: str, source: Pixels | None, seed: int, options: Options) -> Pixels:  # noqa: ARG002
        role = self._roles.generator
        rows, columns = role.image.height // role.token_pixels, role.image.width // role.token_pixels
        noise = np.asarray(_core.gaussian_noise(seed, rows * columns * role.latent_channels))
        planes = noise.reshape(rows, columns, role.latent_channels).transpose(2, 0, 1)[None].copy()
        image = self._models.pipeline(
            prompt=prompt,
            image=None if source is None else Image.fromarray(source),
            latents=torch.from_numpy(planes),
            height=role.image.height,
            width=role.image.width,
            num_inference_steps=role.scheduler.num_inference_steps,
            guidance_scale=1.0,
            max_sequence_length=role.max_sequence_length,
            text_encoder_out_layers=TEXT_LAYERS,
            output_type="pil",
        ).images[0]
        return np.array(image)
